// Markdown as elements, while it arrives. Nothing that a model writes becomes HTML: there are only elements that are
// created here, with text in them, and links to http, https and mailto. Images of other sites are not loaded.

import * as smd from "./vendor/smd.min.js";

const SAFE = /^(https?:|mailto:)/i;

// What begins and ends an element in the text. The parser begins the element before it can know whether its end will
// come, and leaves the marks out. If it was not markup (`list[0]`, `snake_case`, `$HOME`), `keepMarks` restores them.
const MARKS = new Map([
  [smd.ITALIC_AST, ["*", "*"]],
  [smd.ITALIC_UND, ["_", "_"]],
  [smd.STRONG_AST, ["**", "**"]],
  [smd.STRONG_UND, ["__", "__"]],
  [smd.STRIKE, ["~~", "~~"]],
  [smd.CODE_INLINE, ["`", "`"]],
  [smd.LINK, ["[", "]"]],
  [smd.IMAGE, ["![", "]"]],
  [smd.EQUATION_INLINE, ["$", "$"]],
]);
const UNDERSCORES = [smd.ITALIC_UND, smd.STRONG_UND];
const LINKS = [smd.LINK, smd.IMAGE];
const ENDS_WITH_LETTER = /[\p{L}\p{N}_]$/u;
const BEGINS_WITH_LETTER = /^[\p{L}\p{N}_]/u;

export class MarkdownView {
  constructor(root) {
    this.renderer = smd.default_renderer(root);
    const { add_token, end_token, add_text, set_attr } = this.renderer;
    const open = []; // the tokens of `data.nodes`
    let underscored = null; // what `_` has just ended: it is not emphasis if a letter follows
    let cutLink = null; // a link whose URL the parser has ended at the first of two brackets
    this.renderer.add_token = (data, type) => {
      underscored = cutLink = null;
      const before = data.nodes[data.index].lastChild;
      const isInWord = UNDERSCORES.includes(type) && before instanceof Text && ENDS_WITH_LETTER.test(before.data);
      if (type === smd.IMAGE) {
        const link = data.nodes[data.index].appendChild(document.createElement("a"));
        data.nodes[++data.index] = link;
      } else {
        add_token(data, type);
      }
      open[data.index] = { type, isInWord };
      if (type === smd.CODE_FENCE || type === smd.CODE_BLOCK) addCopyButton(data.nodes[data.index]);
      if (type === smd.TABLE) data.nodes[data.index].tabIndex = 0;
    };
    this.renderer.end_token = (data) => {
      const { type, isInWord, url } = open[data.index];
      const element = data.nodes[data.index];
      end_token(data);
      if (!MARKS.has(type)) return;
      const [start, end] = MARKS.get(type);
      const isEnded = this.isEnded(type, end);
      underscored = isEnded && UNDERSCORES.includes(type) ? () => keepMarks(element, start, end) : null;
      if (LINKS.includes(type)) {
        if (!element.href) keepMarks(element, start, url === undefined ? this.takeLinkEnd() : `](${url})`);
      } else if (type === smd.EQUATION_INLINE && this.parser.pending.startsWith("\\")) {
        keepMarks(element, "\\(", "\\)");
      } else if (!isEnded || isInWord || type === smd.EQUATION_INLINE) {
        keepMarks(element, start, isEnded ? end : "");
        underscored = null;
      }
    };
    this.renderer.add_text = (data, text) => {
      if (underscored && BEGINS_WITH_LETTER.test(text)) underscored();
      if (cutLink && text.startsWith(")")) {
        cutLink.href += ")";
        text = text.slice(1);
      }
      underscored = cutLink = null;
      add_text(data, text);
    };
    this.renderer.set_attr = (data, type, value) => {
      const element = data.nodes[data.index];
      if (type === smd.HREF || type === smd.SRC) {
        open[data.index].url = value;
        const url = urlOf(value, open[data.index].type);
        if (!SAFE.test(url)) return;
        element.href = url;
        element.rel = "noopener noreferrer nofollow";
        element.target = "_blank";
        if (type === smd.SRC) element.textContent = url;
        else if (value.split("(").length > value.split(")").length) cutLink = element;
      } else if (type === smd.LANG) {
        const language = value.trim().split(/\s/)[0].slice(0, 30);
        const label = element.closest(".code")?.querySelector(".language");
        if (label) label.textContent = language;
      } else {
        set_attr(data, type, value);
      }
    };
    this.parser = smd.parser(this.renderer);
  }

  write(text) {
    smd.parser_write(this.parser, text);
  }

  end() {
    smd.parser_end(this.parser);
    this.isOver = true;
    const { data } = this.renderer;
    while (data.index > 0) this.renderer.end_token(data);
  }

  // Return whether the text has the mark that ends an element. At the end of a block, the parser ends all elements.
  isEnded(type, mark) {
    const { pending, fence_start: length } = this.parser;
    if (this.isOver) return false;
    if (type === smd.CODE_INLINE) return length > 0 && pending.replace(" ", "") === "`".repeat(length - 1);
    return pending !== "" && mark.startsWith(pending[0]);
  }

  // Return the part of the text that the parser takes for the end of a link.
  takeLinkEnd() {
    const { pending } = this.parser;
    if (!pending.startsWith("]")) return "";
    this.parser.pending = "";
    return pending.trimEnd();
  }
}

// Return the URL of a link without its title. One in the text ends before the punctuation that follows it.
function urlOf(value, type) {
  if (type === smd.RAW_URL) return value.replace(value.includes("(") ? /[.,;:!?'"*\]>]+$/ : /[.,;:!?'"*\]>)]+$/, "");
  return value.trim().replace(/\s+["'(].*$/s, "").replace(/^<(.*)>$/, "$1");
}

// Replace an element by its content between the marks that the parser has left out.
function keepMarks(element, start, end) {
  element.prepend(start);
  element.append(end);
  element.replaceWith(...element.childNodes);
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
