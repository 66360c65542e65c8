// Keeps the work in the browser's database, so that a reload or a crash loses nothing.

const DATABASE = "midigpt-studio";
const STORE = "work";
const KEY = "current";

let database = null;

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function inStore(mode, act) {
  // Without waiting if it is open: the page may be closing.
  if (!database) database = await open();
  const transaction = database.transaction(STORE, mode);
  const request = act(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.commit();
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Keep a plain value in place of the one before; of several calls the last one counts. */
export function keep(work) {
  return inStore("readwrite", (store) => store.put(work, KEY));
}

/** The value that was kept last; undefined: none was. */
export function kept() {
  return inStore("readonly", (store) => store.get(KEY));
}
