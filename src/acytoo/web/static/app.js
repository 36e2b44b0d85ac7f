// The chat: what is shown, and what happens when somebody types, clicks or a reply arrives.

import * as api from "./api.js";
import * as store from "./store.js";
import { local } from "./store.js";
import { MarkdownView, copy } from "./markdown.js";

const $ = (id) => document.getElementById(id);
const SHOWN = 40; // messages that are in the page at first, and that "Earlier messages" adds
const LISTED = 500; // conversations in the list
const SAVE_EVERY = 1000; // milliseconds between two saves of a reply that arrives
const DRAFT = "acytoo-draft-"; // with the conversation's id, or "new"
const MODEL = "acytoo-model";
const OTHER = "\u0000other"; // the value of the entry "Other model"
const OPTIONS = ["temperature", "top_p", "max_tokens", "seed"];

const isLasting = await store.isLasting();
const locks = isLasting ? navigator.locks : undefined; // without storage, a lock is an error too
const tabs = new BroadcastChannel("acytoo");
let current = null; // the open conversation
let nodes = new Map(); // its nodes by id
let images = []; // data URLs that go with the next message
const awaited = new Set(); // ids of replies that arrive in other tabs
const replies = new Map(); // by conversation: {controller, node, view} of the reply that arrives
let shown = SHOWN;

const running = () => replies.get(current?.id);

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

// Only what the user does next hides an error: nothing that the page finishes by itself.
function showError(error) {
  $("error").hidden = !error;
  $("error").textContent = error ? (error.message ?? String(error)) : "";
}

// Save, or show why not. The chat goes on.
async function save(name, value) {
  try {
    await store.save(name, value);
    showUnsaved(isLasting ? "" : NOT_ALLOWED);
  } catch (error) {
    showUnsaved(`This browser could not store the last change: ${error.message || error.name}`);
  }
}

const NOT_ALLOWED = "This browser does not let the page store anything: conversations are lost when it is closed.";

function showUnsaved(text) {
  $("unsaved").hidden = !text;
  $("unsaved").textContent = text;
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
  await save("conversations", current);
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
  $("send").hidden = Boolean(running());
  $("stop").hidden = !running();
  document.title = current.title ? `${current.title} – Acytoo` : "Acytoo";
  showEndButton();
}

// The end is near enough to follow the reply that arrives.
const isAtEnd = (list) => list.scrollHeight - list.scrollTop - list.clientHeight < 60;

function showEndButton() {
  $("to-end").hidden = isAtEnd($("messages"));
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
  const body = element("div", { className: "body" });
  if (node.role === "user") {
    body.textContent = node.content;
  } else {
    const markdown = new MarkdownView(body);
    markdown.write(node.content);
    const reply = running();
    if (reply?.node === node) reply.view = { markdown, body, reasoning: null };
    else if (node.state === "streaming") awaitOtherTab(node);
    if (node.state !== "streaming") markdown.end();
    if (node.reasoning) {
      const reasoning = reasoningView(node.reasoning);
      article.append(reasoning);
      if (reply?.node === node) reply.view.reasoning = reasoning;
    }
  }
  article.append(body, notes(node), actions(node), ...trace(node));
  return article;
}

function reasoningView(text) {
  return element("details", {}, element("summary", {}, "Reasoning"), element("div", { className: "reasoning" }, text));
}

// What happened at each target of a route, if it took several.
function trace(node) {
  if (!(node.trace?.length > 1)) return [];
  const items = node.trace.map(({ target, outcome, seconds }) => {
    const words = outcome.replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
    return element("li", {}, `${target}: ${words} after ${seconds.toFixed(2)} s`);
  });
  return [element("details", { className: "trace" }, element("summary", {}, "Attempts"), element("ol", {}, ...items))];
}

const CUT = "This reply was cut: it is not complete.";

// Why a complete reply ended before the model was done.
const ENDINGS = new Map([
  ["length", "The reply reached the limit of tokens."],
  ["content_filter", "A content filter ended the reply."],
]);

function notes(node) {
  const box = element("div", { className: "notes" });
  if (node.state === "cut") box.append(element("p", { className: "cut" }, reasonOf(node)));
  if (node.state === "stopped") box.append(element("p", { className: "stopped" }, "You stopped this reply."));
  if (node.state === "streaming") {
    const isOurs = running()?.node === node;
    const text = isOurs ? "Waiting for the reply …" : "Arriving in another tab …";
    box.append(element("p", { className: isOurs ? "waiting" : "" }, text));
  }
  if (ENDINGS.has(node.finish)) box.append(element("p", { className: "cut" }, ENDINGS.get(node.finish)));
  return box;
}

// A request that was refused has no text that could be cut.
function reasonOf(node) {
  const reason = node.error ?? "";
  if (node.content || node.reasoning) return `${CUT} ${reason}`.trim();
  const hasImages = node.refused && path().some((one) => one.images?.length);
  const hint = hasImages ? " If the model takes no images, choose another model or edit the message without them." : "";
  return `There is no reply. ${reason}${hint}`;
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
  if (running()) return row;
  if (node.role === "user") row.append(button("Edit", () => edit(node), { className: "edit" }));
  else {
    row.append(button("Copy", async () => say((await copy(node.content, row)) ? "Copied." : "Copying is not allowed.")));
    row.append(button("Regenerate", () => answer(node.parent)));
  }
  return row;
}

function edit(node) {
  const article = $(`m-${node.id}`);
  const field = element("textarea", { value: node.content, rows: 4, ariaLabel: "Edit the message" });
  const save = button("Send", async () => {
    if (running() || (!field.value.trim() && !node.images?.length)) return;
    $("prompt").focus();
    await send(field.value, node.images ?? [], node.parent);
  });
  const cancel = () => {
    article.replaceWith(view(node));
    $(`m-${node.id}`).querySelector(".edit")?.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") cancel();
  });
  article.replaceChildren(field, element("div", { className: "actions" }, save, button("Cancel", cancel)));
  field.focus();
}

let drawings = 0;

async function drawConversations() {
  const drawing = ++drawings;
  const words = $("search").value.trim();
  const found = words ? await store.search(words) : null;
  const all = (await store.conversations()).filter(
    (one) => !words || found.has(one.id) || one.title.toLowerCase().includes(words.toLowerCase()),
  );
  if (drawing !== drawings || document.querySelector("#conversations input")) return;
  const items = all.slice(0, LISTED).map((one) => {
    const isCurrent = one.id === current?.id;
    const open = button(one.title || "New chat", () => {
      showError(null);
      openConversation(one.id);
    }, { className: "title" });
    if (isCurrent) open.setAttribute("aria-current", "page");
    const name = button("✎", () => rename(one, item), { ariaLabel: `Rename ${one.title}` });
    const drop = button("✕", () => removeConversation(one), { ariaLabel: `Delete ${one.title}` });
    const item = element("li", {}, open, name, drop);
    return item;
  });
  if (all.length > LISTED) items.push(element("li", {}, `${all.length - LISTED} more: search for them`));
  $("conversations").replaceChildren(...items);
}

function rename(one, item) {
  const field = element("input", { value: one.title, ariaLabel: "Name of the conversation", maxLength: 80 });
  let isDone = false;
  const end = async (isKept) => {
    if (isDone) return;
    isDone = true;
    const hadFocus = document.activeElement === field;
    const title = field.value.trim();
    item.replaceChildren();
    if (isKept && title) {
      const stored = one.id === current.id ? current : await store.conversation(one.id);
      stored.title = title;
      await save("conversations", stored);
      if (stored === current) draw();
    }
    await changed();
    if (hadFocus) document.querySelector(`[aria-label="Rename ${CSS.escape(title)}"]`)?.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) end(true);
    if (event.key === "Escape") end(false);
  });
  field.addEventListener("blur", () => end(true));
  item.replaceChildren(field);
  field.select();
}

async function removeConversation(one) {
  if (!confirm(`Delete “${one.title}”?`)) return;
  showError(null);
  replies.get(one.id)?.controller.abort();
  await store.remove(one.id);
  local.remove(`${DRAFT}${one.id}`);
  if (one.id === current?.id) newConversation();
  else $("new").focus();
  tabs.postMessage({ conversation: one.id, isDeleted: true });
  drawConversations();
}

// A conversation that another tab has deleted is not shown or continued here.
function forget(id) {
  replies.get(id)?.controller.abort();
  if (id !== current?.id) return;
  newConversation();
  showError(new Error("This conversation was deleted in another tab."));
}

// Draw the list again, and let other tabs do the same with it and the conversation.
function changed(id = current?.id) {
  tabs.postMessage({ conversation: id });
  return drawConversations();
}

// Conversations.

function newConversation() {
  show({ id: store.newId(), title: "", updated: Date.now(), leaf: null, settings: {} }, []);
  history.replaceState(null, "", "/");
  $("prompt").focus();
}

function show(conversation, itsNodes) {
  current = conversation;
  nodes = new Map(itsNodes.map((node) => [node.id, node]));
  const arriving = running()?.node;
  if (arriving) nodes.set(arriving.id, arriving);
  shown = SHOWN;
  chooseModel(current.model ?? local.get(MODEL));
  fillSettings();
  $("prompt").value = local.get(draftKey()) ?? "";
  $("prompt").disabled = false; // until now there was no conversation to write in
  resize();
  draw();
  drawConversations();
  closeSidebar();
}

const draftKey = () => DRAFT + (current.leaf ? current.id : "new");

function keepDraft() {
  if ($("prompt").value) local.set(draftKey(), $("prompt").value);
  else local.remove(draftKey());
}

async function openConversation(id) {
  const found = await store.conversation(id);
  if (!found) return newConversation();
  const itsNodes = await store.nodesOf(id);
  await markAbandoned(itsNodes);
  history.replaceState(null, "", `/#${id}`);
  show(found, itsNodes);
}

// A reply that was arriving when its page was closed is cut. One that still arrives holds a lock.
async function markAbandoned(itsNodes) {
  const held = new Set(((await locks?.query())?.held ?? []).map((lock) => lock.name));
  for (const node of itsNodes) {
    if (node.state !== "streaming" || held.has(`reply-${node.id}`)) continue;
    node.state = "cut";
    node.error = "The page was closed while it arrived.";
    await save("nodes", node);
  }
}

// Show a reply of another tab again once that tab has received it, or was closed.
function awaitOtherTab(node) {
  if (!locks || awaited.has(node.id)) return;
  awaited.add(node.id);
  locks.request(`reply-${node.id}`, () => awaited.delete(node.id)).then(() => {
    if (current.id === node.conversation) reread();
  });
}

async function reread() {
  const found = await store.conversation(current.id);
  if (!found || running()) return;
  const itsNodes = await store.nodesOf(found.id);
  await markAbandoned(itsNodes);
  if (found.id !== current.id || running()) return;
  nodes = new Map(itsNodes.map((node) => [node.id, node]));
  current = { ...found, leaf: deepest(found.leaf) };
  chooseModel(current.model ?? $("model").value);
  if (!$("settings-dialog").open) fillSettings();
  if (!document.querySelector("article > textarea")) draw();
}

// Add a message to a conversation, which may no longer be the open one.
async function addNode(conversation, node) {
  const complete = { id: store.newId(), conversation: conversation.id, time: Date.now(), images: [], ...node };
  conversation.leaf = complete.id;
  conversation.updated = Date.now();
  if (!conversation.title) conversation.title = (node.content || "Image").slice(0, 80);
  if (conversation.id === current.id) {
    nodes.set(complete.id, complete);
    history.replaceState(null, "", `/#${conversation.id}`);
  }
  await save("nodes", complete);
  await save("conversations", conversation);
  return complete;
}

async function send(text, attached, parent) {
  showError(null);
  const question = await addNode(current, { parent, role: "user", content: text, images: attached });
  await answer(question.id);
}

// What is sent in place of the rest of a reply that was cut or stopped, so that the model does not take it for all.
const INCOMPLETE = "\n\n[This reply is incomplete.]";

function messagesUpTo(id) {
  const found = [];
  for (let node = nodes.get(id); node; node = nodes.get(node.parent)) {
    if (node.role === "user" && node.images?.length) {
      const parts = node.images.map((url) => ({ type: "image_url", image_url: { url } }));
      found.push({ role: "user", content: [...(node.content ? [{ type: "text", text: node.content }] : []), ...parts] });
    } else if (node.content) {
      const isComplete = node.role === "user" || node.state === "complete";
      found.push({ role: node.role, content: isComplete ? node.content : node.content + INCOMPLETE });
    }
  }
  const system = current.settings?.system;
  if (system) found.push({ role: "system", content: system });
  return found.reverse();
}

async function answer(parent) {
  if (running()) return;
  showError(null);
  await modelsLoaded;
  if (running() || !nodes.has(parent)) return; // another conversation may be open by now
  const conversation = current;
  current.model = $("model").value;
  const body = { model: current.model, messages: messagesUpTo(parent) };
  for (const option of OPTIONS) {
    const value = current.settings?.[option];
    if (value !== undefined && value !== "") body[option] = Number(value);
  }
  const id = store.newId();
  const reply = { controller: new AbortController(), node: null, view: null };
  replies.set(conversation.id, reply);
  const receiving = async () => {
    const model = body.model;
    const empty = { id, parent, role: "assistant", content: "", reasoning: "", state: "streaming", model };
    reply.node = await addNode(conversation, empty);
    if (current.id === conversation.id) draw();
    say("The reply is arriving.");
    changed(conversation.id);
    await receive(reply, body);
  };
  try {
    // The lock shows other tabs that the reply is still arriving. Browsers have locks on secure origins only.
    await (locks ? locks.request(`reply-${id}`, receiving) : receiving());
  } finally {
    replies.delete(conversation.id);
  }
  const node = reply.node;
  if (await store.conversation(conversation.id)) await save("nodes", node);
  else await store.remove(conversation.id); // what was saved while it was deleted
  if (current.id === conversation.id) {
    const hadFocus = [document.body, $("stop")].includes(document.activeElement);
    draw();
    if (hadFocus) $("prompt").focus();
  }
  say(node.state === "complete" ? "The reply is complete." : node.state === "stopped" ? "Stopped." : reasonOf(node));
  changed(conversation.id);
}

async function receive(reply, body) {
  const node = reply.node;
  const signal = reply.controller.signal;
  let first = 0;
  let timer = null;
  const saveReply = () => {
    timer = null;
    return save("nodes", node);
  };
  try {
    for await (const part of api.reply(body, signal)) {
      if (part.headers) Object.assign(node, part.headers);
      if (part.model) node.model = part.model;
      if (part.usage) node.usage = part.usage;
      if (part.finish) node.finish = part.finish;
      if (part.reasoning) {
        node.reasoning += part.reasoning;
        keepAtEnd(() => showReasoning(reply.view, part.reasoning));
      }
      if (part.text) {
        first ||= performance.now();
        node.content += part.text;
        keepAtEnd(() => reply.view?.markdown.write(part.text));
      }
      if (part.text && part.text === node.content) await save("nodes", node); // the first text
      timer ??= setTimeout(saveReply, SAVE_EVERY);
    }
    node.state = "complete";
  } catch (error) {
    if (signal.aborted) node.state = "stopped";
    else {
      node.state = "cut";
      node.error = error.message;
      node.refused = error.status >= 400;
      Object.assign(node, error.attempts);
      if (error.status === 401) askPassword(api.hasPassword() ? WRONG : "");
    }
  }
  clearTimeout(timer);
  node.seconds = first ? (performance.now() - first) / 1000 : 0;
}

function showReasoning(place, text) {
  if (!place) return;
  if (place.reasoning) place.reasoning.lastChild.append(text);
  else {
    place.reasoning = reasoningView(text);
    place.body.before(place.reasoning);
  }
}

function keepAtEnd(change) {
  const list = $("messages");
  const wasAtEnd = isAtEnd(list);
  change();
  if (wasAtEnd) list.scrollTop = list.scrollHeight;
  else showEndButton();
}

function stop() {
  running()?.controller.abort();
}

// Settings, password, usage, files.

function fillSettings() {
  $("system").value = current.settings?.system ?? "";
  for (const option of OPTIONS) $(option).value = current.settings?.[option] ?? "";
  const isChanged = Object.values(current.settings ?? {}).some((value) => value !== "");
  $("settings").textContent = isChanged ? "Settings (changed)" : "Settings";
}

function readSettings() {
  current.settings = { system: $("system").value };
  for (const option of OPTIONS) current.settings[option] = $(option).value;
  fillSettings();
  keepSettings();
}

// Save the settings and the model, also for other tabs.
async function keepSettings() {
  if (!current.leaf) return;
  await save("conversations", current);
  changed();
}

function chooseModel(name) {
  const list = $("model");
  const isListed = [...list.options].some((option) => option.value === name);
  if (name && !isListed) list.prepend(element("option", { value: name, textContent: name }));
  if (name) list.value = name;
  else list.selectedIndex = 0;
}

function pickModel() {
  if ($("model").value === OTHER) {
    chooseModel(current.model ?? null);
    chooseModel(prompt("Name of the model, such as NAME/MODEL:")?.trim() || $("model").value);
  }
  current.model = $("model").value;
  local.set(MODEL, current.model);
  keepSettings();
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

const WRONG = "The password or key is wrong.";

function askPassword(message = "") {
  $("password-error").textContent = message;
  if (!$("password-dialog").open) $("password-dialog").showModal();
}

async function loadModels() {
  try {
    const names = await api.models();
    const options = names.map((name) => element("option", { value: name, textContent: name }));
    const other = element("option", { value: OTHER, textContent: "Other model …" });
    if (!names.length) options.push(element("option", { value: "", textContent: "No models are listed" }));
    $("model").replaceChildren(...options, other);
    if (current) chooseModel(current.model ?? local.get(MODEL));
    $("usage").hidden = !(await api.hasUsage());
  } catch (error) {
    if (error.status === 401) askPassword(api.hasPassword() ? WRONG : "");
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
    if (!file.type.startsWith("image/")) {
      showError(new Error(`${file.name} is not an image.`));
      continue;
    }
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
        $("prompt").focus();
      }, { ariaLabel: `Remove image ${place + 1}` })),
    ),
  );
}

function showSidebar(isOpen) {
  document.body.classList.toggle("with-sidebar", isOpen);
  $("open-sidebar").setAttribute("aria-expanded", String(isOpen));
}

function closeSidebar() {
  const hadFocus = document.body.classList.contains("with-sidebar") && $("sidebar").contains(document.activeElement);
  showSidebar(false);
  if (hadFocus) $("open-sidebar").focus();
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
    if (running() || (!text.trim() && !images.length)) return;
    const attached = images;
    images = [];
    $("prompt").value = "";
    keepDraft();
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
  $("prompt").addEventListener("input", () => {
    resize();
    keepDraft();
  });
  $("prompt").addEventListener("paste", (event) => attach(event.clipboardData.files));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.target.closest("article, nav li, dialog")) return;
    if (document.body.classList.contains("with-sidebar")) closeSidebar();
    else stop();
  });
  $("messages").addEventListener("scroll", showEndButton, { passive: true });
  $("to-end").addEventListener("click", () => {
    $("messages").scrollTop = $("messages").scrollHeight;
    $("prompt").focus();
  });
  $("model").addEventListener("change", pickModel);
  $("attach").addEventListener("click", () => $("attach-file").click());
  $("attach-file").addEventListener("change", () => {
    attach($("attach-file").files);
    $("attach-file").value = "";
  });
  $("stop").addEventListener("click", stop);
  $("new").addEventListener("click", () => {
    showError(null);
    newConversation();
  });
  $("search").addEventListener("input", drawConversations);
  $("open-sidebar").addEventListener("click", () => {
    showSidebar(true);
    $("close-sidebar").focus();
  });
  $("close-sidebar").addEventListener("click", closeSidebar);
  $("settings").addEventListener("click", () => $("settings-dialog").showModal());
  $("settings-dialog").addEventListener("close", readSettings);
  $("theme").value = local.get("acytoo-theme") ?? "";
  $("theme").addEventListener("change", () => {
    local.set("acytoo-theme", $("theme").value);
    applyTheme($("theme").value);
  });
  $("password-dialog").addEventListener("close", () => {
    const dialog = $("password-dialog");
    const isGiven = dialog.returnValue === "ok" && $("password").value;
    dialog.returnValue = "";
    if (isGiven) {
      showError(null);
      api.setPassword($("password").value);
      loadModels();
    } else showError(new Error("This server needs a password or a key. Reload the page to enter it."));
    $("password").value = "";
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
    if (event.data.isDeleted) forget(event.data.conversation);
    else if (event.data.conversation === current?.id) await reread();
  });
  addEventListener("unhandledrejection", (event) => showError(event.reason)); // such as a full disk
}

if (!isLasting) showUnsaved(NOT_ALLOWED);
applyTheme(local.get("acytoo-theme"));
listen();
const modelsLoaded = loadModels();
const wanted = location.hash.slice(1);
if (wanted && (await store.conversation(wanted))) await openConversation(wanted);
else newConversation();
