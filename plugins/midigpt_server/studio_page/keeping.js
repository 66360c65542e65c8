// Keeps the work in the browser's database, so that a reload or a crash loses nothing.

const DATABASE = "midigpt-studio";
const STORE = "work";
const KEY = "current";

let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function inStore(mode, act) {
  const transaction = (await database()).transaction(STORE, mode);
  const request = act(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    // At once: the page may be closing.
    transaction.commit();
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Keep a plain value in place of the one before. */
export function keep(work) {
  return inStore("readwrite", (store) => store.put(work, KEY));
}

/** The value that was kept last; undefined: none was. */
export function kept() {
  return inStore("readonly", (store) => store.get(KEY));
}
