// Conversations in IndexedDB. A conversation is a tree: editing a message or regenerating a reply adds a sibling.
//
// conversation: {id, title, updated, leaf, model, settings}
// node: {id, conversation, parent, role, content, images, reasoning, state, model, target, usage, seconds, error, time}
// `state` of a reply: "streaming", "complete", "stopped" or "cut".

const NAME = "acytoo";
let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      const db = request.result;
      db.createObjectStore("conversations", { keyPath: "id" });
      db.createObjectStore("nodes", { keyPath: "id" }).createIndex("conversation", "conversation");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function store(name, mode) {
  return (await database()).transaction(name, mode).objectStore(name);
}

export const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export async function conversations() {
  const all = await promised((await store("conversations", "readonly")).getAll());
  return all.sort((a, b) => b.updated - a.updated);
}

export async function conversation(id) {
  return promised((await store("conversations", "readonly")).get(id));
}

export async function nodesOf(id) {
  return promised((await store("nodes", "readonly")).index("conversation").getAll(id));
}

export async function save(name, value) {
  await promised((await store(name, "readwrite")).put(value));
}

export async function remove(id) {
  const nodes = await nodesOf(id);
  const transaction = (await database()).transaction(["conversations", "nodes"], "readwrite");
  transaction.objectStore("conversations").delete(id);
  for (const node of nodes) transaction.objectStore("nodes").delete(node.id);
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onerror = () => reject(transaction.error);
  });
}

// Return the ids of conversations with a message that contains the words.
export async function search(words) {
  const wanted = words.toLowerCase();
  const found = new Set();
  for (const node of await promised((await store("nodes", "readonly")).getAll())) {
    if (node.content.toLowerCase().includes(wanted)) found.add(node.conversation);
  }
  return found;
}

export async function exportAll() {
  const all = await conversations();
  const nodes = await promised((await store("nodes", "readonly")).getAll());
  return { format: "acytoo-conversations", version: 1, conversations: all, nodes };
}

// Add the conversations of an export; one that exists already is replaced. Returns how many there are.
export async function importAll(document) {
  if (document?.format !== "acytoo-conversations" || !Array.isArray(document.conversations) || !Array.isArray(document.nodes)) {
    throw new Error("This file is not an export of this page.");
  }
  const isText = (value) => typeof value === "string";
  const good = document.conversations.filter((one) => isText(one?.id) && isText(one.title));
  const ids = new Set(good.map((one) => one.id));
  const nodes = document.nodes.filter(
    (node) =>
      isText(node?.id) && ids.has(node.conversation) && isText(node.content) && ["user", "assistant"].includes(node.role),
  );
  const transaction = (await database()).transaction(["conversations", "nodes"], "readwrite");
  for (const one of good) transaction.objectStore("conversations").put({ ...one, updated: Number(one.updated) || 0 });
  for (const node of nodes) {
    const images = (Array.isArray(node.images) ? node.images : []).filter((url) => isText(url) && url.startsWith("data:image/"));
    transaction.objectStore("nodes").put({ ...node, images });
  }
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onerror = () => reject(transaction.error);
  });
  return good.length;
}
