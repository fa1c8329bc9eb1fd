// Files that never change under their name: fetched once, and kept by the browser so that no later visit fetches them.
//
// Streamlit names media after their contents but sends no leave to keep them; IndexedDB keeps them, also where a page is
// not served over https.

const DATABASE = "brainviz";
const FILES = "meshes";
const DIGEST_BYTES = 16; // every file begins with its own digest, so that its name is its own
const MOST_IN_MEMORY = 60;
const inMemory = new Map();
let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(FILES);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function remembered(name) {
  const database = await open();
  return new Promise((resolve, reject) => {
    const request = database.transaction(FILES).objectStore(FILES).get(name);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function remember(name, buffer) {
  const database = await open();
  const transaction = database.transaction(FILES, "readwrite");
  transaction.objectStore(FILES).put(buffer, name);
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return (await response.arrayBuffer()).slice(DIGEST_BYTES);
}

async function kept(url) {
  const name = url.split("/").pop();
  // A browser that allows no storage, as in some private windows, fetches again.
  const known = await remembered(name).catch(() => undefined);
  if (known) return known;
  const buffer = await fetched(url);
  remember(name, buffer).catch(() => {});
  return buffer;
}

/** The bytes at an address, as an ArrayBuffer; with `keep`, they stay in the browser, unless the page itself holds them. */
export function load(url, keep = false) {
  if (!inMemory.has(url)) {
    const promise = keep && !url.startsWith("data:") ? kept(url) : fetched(url);
    inMemory.set(url, promise);
    promise.catch(() => inMemory.delete(url)); // the next time may be better
    if (inMemory.size > MOST_IN_MEMORY) inMemory.delete(inMemory.keys().next().value);
  }
  return inMemory.get(url);
}

open().catch(() => {}); // it takes a moment, in which the plan is read
