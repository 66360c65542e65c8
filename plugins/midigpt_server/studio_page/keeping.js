// Keeps the work of each window in the browser's database, so that a reload or a crash loses nothing.
//
// A window has a name, which its session storage keeps over reloads, and holds a lock of that name while it is open. So
// a new window does not take the work of one that is open, and one that is opened again finds what it had.

const DATABASE = "midigpt-studio";
const STORE = "work";
const OLD_KEY = "current"; // of the first version, in which all windows had one work
const WINDOW = "midigpt-studio-window";
const MOST_KEPT = 16;
// After a reload the lock of the page before it may still be held.
const LET_GO_MS = 700;
const ANSWER_MS = 5_000;

let database = null;
let name = null;

/**
 * {work, others}: the work that is this window's from now on, or null; and whether other windows are open. It is what the
 * window had before a reload, else the latest work that no open window has. The work of a window that was duplicated is
 * copied.
 */
export async function claim() {
  // Pages of another machine over plain HTTP have no locks: all windows then share the latest work.
  const locks = navigator.locks;
  const own = sessionStorage.getItem(WINDOW);
  const kept = await all();
  const find = (id) => kept.find((one) => one.id === id) ?? null;
  let work = null;
  if (own && (!locks || (await held(own, LET_GO_MS)))) {
    name = own;
    work = find(own);
  } else {
    for (const one of own ? [] : kept) {
      if (locks && !(await held(one.id))) continue;
      name = one.id;
      work = one;
      break;
    }
  }
  if (!name) {
    name = newName();
    if (locks) await held(name);
    work = own && find(own);
    await forget(kept.slice(MOST_KEPT - 1));
  }
  sessionStorage.setItem(WINDOW, name);
  return { work: work?.work ?? null, others: (await openWindows()).some((id) => id !== name) };
}

/**
 * Keep a plain value in place of the one before; of several calls the last one counts. `song`: it has one. A window whose
 * claim failed gets a name now.
 */
export function keep(work, song) {
  if (!name) {
    name = newName();
    sessionStorage.setItem(WINDOW, name);
    if (navigator.locks) held(name);
  }
  return inStore("readwrite", (store) => store.put({ at: Date.now(), song, work }, name));
}

/** The theme that was chosen, or null: the system's. */
export function keptTheme() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // The browser keeps nothing for this page.
  }
}

export function keepTheme(theme) {
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // The browser keeps nothing for this page: the theme lasts until the page is closed.
  }
}

function newName() {
  return crypto.randomUUID?.() ?? `window-${Date.now()}`;
}

/** [{id, at, song, work}]: those with a song first, then the latest. */
async function all() {
  const reading = Promise.all([
    inStore("readonly", (store) => store.getAllKeys()),
    inStore("readonly", (store) => store.getAll()),
  ]);
  const [ids, values] = await inTime(reading);
  return ids
    .map((id, index) => ({ id, ...values[index] }))
    .sort((one, other) => Number(other.song) - Number(one.song) || other.at - one.at);
}

/** Delete works that no open window has. */
async function forget(works) {
  const open = await openWindows();
  for (const { id } of works) {
    if (!open.includes(id)) await inTime(inStore("readwrite", (store) => store.delete(id)));
  }
}

async function openWindows() {
  const { held: locks = [] } = (await navigator.locks?.query()) ?? {};
  return locks.filter((lock) => lock.name.startsWith(WINDOW)).map((lock) => lock.name.slice(WINDOW.length + 1));
}

/** Hold the lock of a name for as long as this window is open; false: another one has it, also after `patience` ms. */
function held(id, patience = 0) {
  return new Promise((resolve, reject) => {
    const options = patience ? { signal: AbortSignal.timeout(patience) } : { ifAvailable: true };
    const take = (lock) => {
      resolve(lock !== null);
      return lock ? new Promise(() => {}) : null;
    };
    navigator.locks.request(`${WINDOW}-${id}`, options, take).catch((error) => {
      if (error.name === "TimeoutError" || error.name === "AbortError") resolve(false);
      else reject(error);
    });
  });
}

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 2);
    request.onupgradeneeded = ({ oldVersion }) => {
      if (oldVersion < 1) {
        request.result.createObjectStore(STORE);
        return;
      }
      const store = request.transaction.objectStore(STORE);
      const old = store.get(OLD_KEY);
      old.onsuccess = () => {
        if (old.result) store.put({ at: 0, song: true, work: old.result }, OLD_KEY);
      };
    };
    request.onsuccess = () => {
      // A newer page in another window must not wait for this one.
      request.result.onversionchange = () => {
        request.result.close();
        database = null;
      };
      resolve(request.result);
    };
    request.onblocked = () => reject(new Error("an older page of the studio is open in another window; close it"));
    request.onerror = () => reject(request.error);
  });
}

/** What the database answers. Rejects if that takes too long: some browsers never answer. */
function inTime(answer) {
  let timer = 0;
  const late = new Promise((_, reject) => {
    const error = new Error(`the browser's database has not answered for ${ANSWER_MS / 1000} seconds`);
    timer = setTimeout(() => reject(error), ANSWER_MS);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

async function inStore(mode, act) {
  // Without waiting if it is open: the page may be closing.
  if (!database) database = await inTime(open());
  const transaction = database.transaction(STORE, mode);
  const request = act(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.commit();
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}
