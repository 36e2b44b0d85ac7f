// The chat: what is shown, and what happens when somebody types, clicks or a reply arrives.

import * as api from "./api.js";
import * as store from "./store.js";
import { MarkdownView } from "./markdown.js";

const $ = (id) => document.getElementById(id);
const SHOWN = 40; // messages that are in the page at first, and that "Earlier messages" adds
const SAVE_EVERY = 1000; // milliseconds between two saves of a reply that arrives
const OPTIONS = ["temperature", "top_p", "max_tokens", "seed"];

const tabs = new BroadcastChannel("acytoo");
let current = null; // the open conversation
let nodes = new Map(); // its nodes by id
let images = []; // data URLs that go with the next message
let running = null; // {controller, node} of the reply that arrives
let shown = SHOWN;

// Elements.

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const button = (text, action, properties = {}) =>
  element("button", { type: "button", textContent: text, onclick: action, ...properties });

function say(text) {
  $("status").textContent = text;
}

function showError(error) {
  $("error").hidden = !error;
  $("error").textContent = error ? (error.message ?? String(error)) : "";
}

// The tree of a conversation.

const childrenOf = (id) => [...nodes.values()].filter((node) => node.parent === id).sort((a, b) => a.time - b.time);

function path() {
  const found = [];
  for (let node = nodes.get(current?.leaf); node; node = nodes.get(node.parent)) found.push(node);
  return found.reverse();
}

function deepest(id) {
  for (let children = childrenOf(id); children.length; children = childrenOf(id)) id = children.at(-1).id;
  return id;
}

async function select(id) {
  current.leaf = deepest(id);
  await store.save("conversations", current);
  draw();
}

// Drawing.

function draw() {
  const list = $("messages");
  const all = path();
  const first = Math.max(0, all.length - shown);
  const views = all.slice(first).map(view);
  if (first > 0) views.unshift(button(`Earlier messages (${first})`, showEarlier, { className: "earlier" }));
  list.replaceChildren(...views);
  if (!all.length) list.append(element("p", { className: "empty" }, "What can I help with?"));
  list.scrollTop = list.scrollHeight;
  $("send").hidden = Boolean(running);
  $("stop").hidden = !running;
}

function showEarlier() {
  const list = $("messages");
  const bottom = list.scrollHeight - list.scrollTop;
  shown += SHOWN;
  draw();
  list.scrollTop = list.scrollHeight - bottom;
}

function view(node) {
  const article = element("article", { className: node.role, id: `m-${node.id}` });
  article.append(element("h2", { className: "hidden" }, node.role === "user" ? "You" : "Assistant"));
  for (const url of node.images ?? []) article.append(element("img", { src: url, alt: "Attached image" }));
  if (node.reasoning) article.append(reasoningView(node));
  const body = element("div", { className: "body" });
  article.append(body);
  if (node.role === "user") {
    body.textContent = node.content;
  } else {
    const markdown = new MarkdownView(body);
    markdown.write(node.content);
    if (node.state !== "streaming") markdown.end();
  }
  article.append(notes(node), actions(node));
  return article;
}

function reasoningView(node) {
  const text = element("div", { className: "reasoning" }, node.reasoning);
  return element("details", {}, element("summary", {}, "Reasoning"), text);
}

const CUT = "This reply was cut: it is not complete.";

function notes(node) {
  const box = element("div", { className: "notes" });
  if (node.state === "cut") box.append(element("p", { className: "cut" }, node.error ? `${CUT} ${node.error}` : CUT));
  if (node.state === "stopped") box.append(element("p", { className: "stopped" }, "You stopped this reply."));
  if (node.state === "streaming" && running?.node !== node) box.append(element("p", {}, "Arriving in another tab …"));
  if (node.finish === "length") box.append(element("p", { className: "cut" }, "The reply reached the limit of tokens."));
  return box;
}

function details(node) {
  const parts = [];
  if (node.model) parts.push(node.model);
  if (node.target) parts.push(node.attempts > 1 ? `${node.target} after ${node.attempts} attempts` : node.target);
  if (node.cache === "hit") parts.push("from the cache");
  const tokens = node.usage?.completion_tokens;
  if (tokens) parts.push(`${tokens} tokens`);
  if (tokens && node.seconds > 0.05) parts.push(`${(tokens / node.seconds).toFixed(1)} tokens/s`);
  return parts.join(" · ");
}

function actions(node) {
  const row = element("div", { className: "actions" });
  if (node.role === "assistant") row.append(element("span", { className: "details" }, details(node)));
  const siblings = childrenOf(node.parent);
  if (siblings.length > 1) {
    const place = siblings.indexOf(node);
    const previous = button("‹", () => select(siblings[place - 1].id), { disabled: place === 0, ariaLabel: "Previous version" });
    const next = button("›", () => select(siblings[place + 1].id), {
      disabled: place === siblings.length - 1,
      ariaLabel: "Next version",
    });
    row.append(previous, element("span", {}, `${place + 1}/${siblings.length}`), next);
  }
  if (running) return row;
  if (node.role === "user") row.append(button("Edit", () => edit(node)));
  else {
    row.append(button("Copy", () => navigator.clipboard?.writeText(node.content).then(() => say("Copied."))));
    row.append(button("Regenerate", () => answer(node.parent)));
  }
  return row;
}

function edit(node) {
  const article = $(`m-${node.id}`);
  const field = element("textarea", { value: node.content, rows: 4, ariaLabel: "Edit the message" });
  const save = button("Send", async () => {
    if (field.value.trim()) await send(field.value, node.images ?? [], node.parent);
  });
  article.replaceChildren(field, element("div", { className: "actions" }, save, button("Cancel", draw)));
  field.focus();
}

async function drawConversations() {
  const words = $("search").value.trim();
  const found = words ? await store.search(words) : null;
  const all = (await store.conversations()).filter(
    (one) => !words || found.has(one.id) || one.title.toLowerCase().includes(words.toLowerCase()),
  );
  const items = all.slice(0, 500).map((one) => {
    const isCurrent = one.id === current?.id;
    const open = button(one.title || "New chat", () => openConversation(one.id), { className: "title" });
    if (isCurrent) open.setAttribute("aria-current", "page");
    const drop = button("✕", () => removeConversation(one), { ariaLabel: `Delete ${one.title}` });
    return element("li", {}, open, drop);
  });
  $("conversations").replaceChildren(...items);
}

async function removeConversation(one) {
  if (!confirm(`Delete “${one.title}”?`)) return;
  await store.remove(one.id);
  if (one.id === current?.id) newConversation();
  changed();
}

function changed() {
  drawConversations();
  tabs.postMessage({ conversation: current?.id });
}

// Conversations.

function newConversation() {
  stop();
  const before = current;
  current = { id: store.newId(), title: "", updated: Date.now(), leaf: null, settings: { ...before?.settings } };
  nodes = new Map();
  shown = SHOWN;
  history.replaceState(null, "", "/");
  fillSettings();
  draw();
  showError(null);
  drawConversations();
  closeSidebar();
  $("prompt").focus();
}

async function openConversation(id) {
  const found = await store.conversation(id);
  if (!found) return newConversation();
  stop();
  current = found;
  nodes = new Map((await store.nodesOf(id)).map((node) => [node.id, node]));
  await markAbandoned();
  shown = SHOWN;
  history.replaceState(null, "", `/#${id}`);
  if (current.model && [...$("model").options].some((option) => option.value === current.model)) {
    $("model").value = current.model;
  }
  fillSettings();
  draw();
  showError(null);
  drawConversations();
  closeSidebar();
}

// A reply that was arriving when its page was closed is cut. One that still arrives holds a lock.
async function markAbandoned() {
  const held = new Set(((await navigator.locks?.query())?.held ?? []).map((lock) => lock.name));
  for (const node of nodes.values()) {
    if (node.state !== "streaming" || held.has(`reply-${node.id}`)) continue;
    node.state = "cut";
    node.error = "The page was closed while it arrived.";
    await store.save("nodes", node);
  }
}

async function addNode(node) {
  const complete = { id: store.newId(), conversation: current.id, time: Date.now(), images: [], ...node };
  nodes.set(complete.id, complete);
  current.leaf = complete.id;
  current.updated = Date.now();
  if (!current.title) current.title = (node.content || "Image").slice(0, 80);
  await store.save("nodes", complete);
  await store.save("conversations", current);
  history.replaceState(null, "", `/#${current.id}`);
  return complete;
}

async function send(text, attached, parent) {
  showError(null);
  const question = await addNode({ parent, role: "user", content: text, images: attached });
  changed();
  await answer(question.id);
}

function messagesUpTo(id) {
  const found = [];
  for (let node = nodes.get(id); node; node = nodes.get(node.parent)) {
    if (node.role === "user" && node.images?.length) {
      const parts = node.images.map((url) => ({ type: "image_url", image_url: { url } }));
      found.push({ role: "user", content: [...(node.content ? [{ type: "text", text: node.content }] : []), ...parts] });
    } else if (node.content) {
      found.push({ role: node.role, content: node.content });
    }
  }
  const system = current.settings?.system;
  if (system) found.push({ role: "system", content: system });
  return found.reverse();
}

async function answer(parent) {
  if (running) return;
  showError(null);
  current.model = $("model").value;
  const body = { model: current.model, messages: messagesUpTo(parent) };
  for (const option of OPTIONS) {
    const value = current.settings?.[option];
    if (value !== undefined && value !== "") body[option] = Number(value);
  }
  const controller = new AbortController();
  const node = await addNode({ parent, role: "assistant", content: "", reasoning: "", state: "streaming", model: body.model });
  running = { controller, node };
  draw();
  say("The reply is arriving.");
  const locked = navigator.locks
    ? (work) => navigator.locks.request(`reply-${node.id}`, work)
    : (work) => work();
  const conversation = current;
  await locked(() => receive(node, body, controller.signal));
  running = null;
  if (current === conversation) draw();
  say(node.state === "complete" ? "The reply is complete." : node.state === "stopped" ? "Stopped." : CUT);
  await store.save("nodes", node);
  changed();
}

async function receive(node, body, signal) {
  const article = $(`m-${node.id}`);
  const markdown = new MarkdownView(article.querySelector(".body"));
  let reasoning = null;
  let saved = performance.now();
  let first = 0;
  try {
    for await (const part of api.reply(body, signal)) {
      if (part.headers) Object.assign(node, part.headers);
      if (part.model) node.model = part.model;
      if (part.usage) node.usage = part.usage;
      if (part.finish) node.finish = part.finish;
      if (part.reasoning) {
        node.reasoning += part.reasoning;
        if (!reasoning) {
          const made = reasoningView(node);
          article.insertBefore(made, article.querySelector(".body"));
          reasoning = made.querySelector(".reasoning");
        } else reasoning.append(part.reasoning);
      }
      if (part.text) {
        first ||= performance.now();
        node.content += part.text;
        keepAtBottom(() => markdown.write(part.text));
      }
      if (performance.now() - saved > SAVE_EVERY) {
        saved = performance.now();
        store.save("nodes", { ...node });
      }
    }
    node.state = "complete";
  } catch (error) {
    if (signal.aborted) node.state = "stopped";
    else {
      node.state = "cut";
      node.error = error.message;
      if (!node.content) showError(error);
      if (error.status === 401) askPassword("The password or key is wrong.");
    }
  }
  node.seconds = first ? (performance.now() - first) / 1000 : 0;
  markdown.end();
}

function keepAtBottom(change) {
  const list = $("messages");
  const isAtBottom = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  change();
  if (isAtBottom) list.scrollTop = list.scrollHeight;
}

function stop() {
  running?.controller.abort();
}

// Settings, password, usage, files.

function fillSettings() {
  $("system").value = current.settings?.system ?? "";
  for (const option of OPTIONS) $(option).value = current.settings?.[option] ?? "";
}

function readSettings() {
  current.settings = { system: $("system").value };
  for (const option of OPTIONS) current.settings[option] = $(option).value;
  if (current.leaf) store.save("conversations", current);
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function askPassword(message = "") {
  $("password-error").textContent = message;
  if (!$("password-dialog").open) $("password-dialog").showModal();
}

async function loadModels() {
  try {
    const names = await api.models();
    $("model").replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
    showError(null);
    $("usage").hidden = !(await api.hasUsage());
  } catch (error) {
    if (error.status === 401) askPassword(api.hasPassword() ? "The password or key is wrong." : "");
    else showError(error);
  }
}

async function showUsage() {
  const content = $("usage-content");
  try {
    const document_ = await api.usage();
    const head = ["Key", "Model", "Requests", "Input tokens", "Output tokens", "Cost"];
    const rows = document_.data.map((row) => [
      row.key, row.model, row.requests, row.input_tokens, row.output_tokens,
      row.cost_usd === null ? "unknown" : `$${row.cost_usd.toFixed(4)}`,
    ]);
    const cells = (row, name) => element("tr", {}, ...row.map((value) => element(name, {}, String(value))));
    content.replaceChildren(
      element("table", {}, element("thead", {}, cells(head, "th")), element("tbody", {}, ...rows.map((row) => cells(row, "td")))),
    );
  } catch (error) {
    content.textContent = error.message;
  }
  $("usage-dialog").showModal();
}

async function exportConversations() {
  const text = JSON.stringify(await store.exportAll());
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  element("a", { href: url, download: `acytoo-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

async function importConversations(file) {
  try {
    const number = await store.importAll(JSON.parse(await file.text()));
    say(`${number} conversations imported.`);
    showError(null);
  } catch (error) {
    showError(error instanceof SyntaxError ? new Error("This file is not JSON.") : error);
  }
  changed();
}

function attach(files) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) continue;
    const reader = new FileReader();
    reader.onload = () => {
      images.push(reader.result);
      drawImages();
    };
    reader.readAsDataURL(file);
  }
}

function drawImages() {
  $("images").replaceChildren(
    ...images.map((url, place) =>
      element("li", {}, element("img", { src: url, alt: `Image ${place + 1}` }), button("✕", () => {
        images.splice(place, 1);
        drawImages();
      }, { ariaLabel: `Remove image ${place + 1}` })),
    ),
  );
}

function closeSidebar() {
  document.body.classList.remove("with-sidebar");
  $("open-sidebar").setAttribute("aria-expanded", "false");
}

function resize() {
  const field = $("prompt");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, innerHeight / 3)}px`;
}

function listen() {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("prompt").value;
    if (running || (!text.trim() && !images.length)) return;
    const attached = images;
    images = [];
    $("prompt").value = "";
    resize();
    drawImages();
    send(text, attached, current.leaf);
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("composer").requestSubmit();
    }
  });
  $("prompt").addEventListener("input", resize);
  $("prompt").addEventListener("paste", (event) => attach(event.clipboardData.files));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) stop();
  });
  $("stop").addEventListener("click", stop);
  $("new").addEventListener("click", newConversation);
  $("search").addEventListener("input", drawConversations);
  $("open-sidebar").addEventListener("click", () => {
    const isOpen = document.body.classList.toggle("with-sidebar");
    $("open-sidebar").setAttribute("aria-expanded", String(isOpen));
  });
  $("close-sidebar").addEventListener("click", closeSidebar);
  $("settings").addEventListener("click", () => $("settings-dialog").showModal());
  $("settings-dialog").addEventListener("close", readSettings);
  $("theme").value = localStorage.getItem("acytoo-theme") ?? "";
  $("theme").addEventListener("change", () => {
    localStorage.setItem("acytoo-theme", $("theme").value);
    applyTheme($("theme").value);
  });
  $("password-dialog").addEventListener("close", () => {
    api.setPassword($("password").value);
    $("password").value = "";
    loadModels();
  });
  $("usage").addEventListener("click", showUsage);
  $("export").addEventListener("click", exportConversations);
  $("import").addEventListener("click", () => $("import-file").click());
  $("import-file").addEventListener("change", () => {
    if ($("import-file").files.length) importConversations($("import-file").files[0]);
    $("import-file").value = "";
  });
  tabs.addEventListener("message", async (event) => {
    drawConversations();
    if (running || !current || event.data.conversation !== current.id) return;
    const found = await store.conversation(current.id);
    if (!found) return;
    nodes = new Map((await store.nodesOf(current.id)).map((node) => [node.id, node]));
    current.leaf = deepest(found.leaf);
    draw();
  });
}

applyTheme(localStorage.getItem("acytoo-theme"));
listen();
await loadModels();
const wanted = location.hash.slice(1);
if (wanted && (await store.conversation(wanted))) await openConversation(wanted);
else newConversation();
