// Conversations in IndexedDB. A conversation is a tree: editing a message or regenerating a reply adds a sibling.
//
// conversation: {id, title, updated, leaf, model, settings}
// node: {id, conversation, parent, role, content, images, reasoning, state, model, target, usage, seconds, error, time}
// `state` of a reply: "streaming", "complete", "stopped" or "cut".

const NAME = "acytoo";
const STORES = ["conversations", "nodes"];
let opened = null;

// Return the database, or null if the browser does not allow one, as with blocked cookies.
function database() {
  opened ??= new Promise((resolve) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      const db = request.result;
      db.createObjectStore("conversations", { keyPath: "id" });
      db.createObjectStore("nodes", { keyPath: "id" }).createIndex("conversation", "conversation");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
  }).catch(() => null);
  return opened;
}

// What is used in place of a database. It is lost with the page.
class Memory extends Map {
  put(value) {
    this.set(value.id, structuredClone(value));
  }
}
const memory = { conversations: new Memory(), nodes: new Memory() };

export const isLasting = async () => (await database()) !== null;

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function all(name) {
  const db = await database();
  return db ? promised(db.transaction(name).objectStore(name).getAll()) : structuredClone([...memory[name].values()]);
}

// Call `change` with the stores by name. All that it puts and deletes is stored, or nothing: a full disk is noticed at the end.
async function write(change) {
  const db = await database();
  if (!db) return change(memory);
  const transaction = db.transaction(STORES, "readwrite");
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
    change(Object.fromEntries(STORES.map((name) => [name, transaction.objectStore(name)])));
  });
}

// `localStorage`, or memory for what it does not take. Where it is not allowed, even naming it throws.
const unstored = new Map();
export const local = {
  get(name) {
    try {
      return unstored.get(name) ?? localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set(name, value) {
    unstored.delete(name);
    try {
      localStorage.setItem(name, value);
    } catch {
      unstored.set(name, value);
    }
  },
  remove(name) {
    unstored.delete(name);
    try {
      localStorage.removeItem(name);
    } catch {
      // There is nothing to remove.
    }
  },
};

export const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export const conversations = async () => (await all("conversations")).sort((a, b) => b.updated - a.updated);

export async function conversation(id) {
  const db = await database();
  return db ? promised(db.transaction("conversations").objectStore("conversations").get(id)) : structuredClone(memory.conversations.get(id));
}

export async function nodesOf(id) {
  const db = await database();
  if (!db) return (await all("nodes")).filter((node) => node.conversation === id);
  return promised(db.transaction("nodes").objectStore("nodes").index("conversation").getAll(id));
}

export const save = (name, value) => write((stores) => stores[name].put(value));

export async function remove(id) {
  const nodes = await nodesOf(id);
  await write((stores) => {
    stores.conversations.delete(id);
    for (const node of nodes) stores.nodes.delete(node.id);
  });
}

// Return the ids of conversations with a message that contains the words.
export async function search(words) {
  const wanted = words.toLowerCase();
  const found = new Set();
  for (const node of await all("nodes")) {
    if (node.content.toLowerCase().includes(wanted)) found.add(node.conversation);
  }
  return found;
}

export async function exportAll() {
  return { format: "acytoo-conversations", version: 1, conversations: await conversations(), nodes: await all("nodes") };
}

const isText = (value) => typeof value === "string";
const texts = (from, names) => Object.fromEntries(names.filter((name) => isText(from[name])).map((name) => [name, from[name]]));
const numbers = (from, names) =>
  Object.fromEntries(names.filter((name) => Number.isFinite(from[name])).map((name) => [name, from[name]]));

const STATES = ["complete", "stopped", "cut"];
const SETTINGS = ["system", "temperature", "top_p", "max_tokens", "seed"];

function cleanConversation(one) {
  const settings = texts(one.settings ?? {}, SETTINGS);
  return { updated: 0, leaf: null, ...texts(one, ["id", "title", "leaf", "model"]), ...numbers(one, ["updated"]), settings };
}

function cleanNode(node) {
  return {
    time: 0,
    parent: null,
    ...texts(node, ["id", "conversation", "parent", "role", "content", "reasoning", "model", "target", "cache", "error", "finish"]),
    ...numbers(node, ["time", "seconds", "attempts"]),
    trace: (Array.isArray(node.trace) ? node.trace : []).filter((one) => isText(one?.target) && isText(one.outcome) && Number.isFinite(one.seconds)),
    state: STATES.includes(node.state) ? node.state : "cut",
    usage: numbers(node.usage ?? {}, ["prompt_tokens", "completion_tokens"]),
    images: (Array.isArray(node.images) ? node.images : []).filter((url) => isText(url) && url.startsWith("data:image/")),
  };
}

// Add the conversations of an export; one that exists already is replaced. Returns how many there are.
// The file may come from anybody: only known fields of the right types are kept, and only trees.
export async function importAll(document) {
  if (document?.format !== "acytoo-conversations" || !Array.isArray(document.conversations) || !Array.isArray(document.nodes)) {
    throw new Error("This file is not an export of this page.");
  }
  const good = document.conversations.filter((one) => isText(one?.id) && isText(one.title)).map(cleanConversation);
  const ids = new Set(good.map((one) => one.id));
  const isNode = (node) =>
    isText(node?.id) && ids.has(node.conversation) && isText(node.content) && ["user", "assistant"].includes(node.role);
  const nodes = new Map(document.nodes.filter(isNode).map((node) => [node.id, cleanNode(node)]));
  for (const node of await all("nodes")) {
    if (nodes.has(node.id) && nodes.get(node.id).conversation !== node.conversation) nodes.delete(node.id);
  }
  cutCircles(nodes);
  await write((stores) => {
    for (const one of good) stores.conversations.put(one);
    for (const node of nodes.values()) stores.nodes.put(node);
  });
  return good.length;
}

// Take the parent from nodes whose parent is missing, in another conversation, or below them.
function cutCircles(nodes) {
  const rooted = new Set([null]);
  for (const start of nodes.values()) {
    const trail = new Set();
    for (let node = start; node && !rooted.has(node.id); node = nodes.get(node.parent)) {
      const parent = nodes.get(node.parent);
      trail.add(node.id);
      if (!parent || trail.has(parent.id) || parent.conversation !== node.conversation) node.parent = null;
    }
    for (const id of trail) rooted.add(id);
  }
}
