// Markdown as elements, while it arrives. Nothing that a model writes becomes HTML: there are only elements that are
// created here, with text in them, and links to http, https and mailto. Images of other sites are not loaded.

import * as smd from "./vendor/smd.min.js";

const SAFE = /^(https?:|mailto:)/i;

export class MarkdownView {
  constructor(root) {
    const renderer = smd.default_renderer(root);
    const { add_token, set_attr } = renderer;
    renderer.add_token = (data, type) => {
      if (type === smd.IMAGE) {
        const link = data.nodes[data.index].appendChild(document.createElement("a"));
        data.nodes[++data.index] = link;
        return;
      }
      add_token(data, type);
      if (type === smd.CODE_FENCE || type === smd.CODE_BLOCK) addCopyButton(data.nodes[data.index]);
      if (type === smd.TABLE) data.nodes[data.index].tabIndex = 0;
    };
    renderer.set_attr = (data, type, value) => {
      const element = data.nodes[data.index];
      if (type === smd.HREF || type === smd.SRC) {
        if (!SAFE.test(value)) return;
        element.href = value;
        element.rel = "noopener noreferrer nofollow";
        element.target = "_blank";
        if (type === smd.SRC) element.textContent = value;
      } else if (type === smd.LANG) {
        const language = value.trim().split(/\s/)[0].slice(0, 30);
        const label = element.closest(".code")?.querySelector(".language");
        if (label) label.textContent = language;
      } else {
        set_attr(data, type, value);
      }
    };
    this.parser = smd.parser(renderer);
  }

  write(text) {
    smd.parser_write(this.parser, text);
  }

  end() {
    smd.parser_end(this.parser);
  }
}

function addCopyButton(code) {
  const pre = code.closest("pre");
  if (!pre) return;
  pre.tabIndex = 0;
  const figure = document.createElement("div");
  figure.className = "code";
  pre.replaceWith(figure);
  const language = document.createElement("span");
  language.className = "language";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    button.textContent = (await copy(code.textContent, code)) ? "Copied" : "Selected";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  figure.append(language, button, pre);
}

// Copy a text, or select its element if the browser has no clipboard, as on origins that are not secure.
export async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return false;
  }
}
