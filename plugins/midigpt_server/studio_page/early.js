// What must work before the modules of the page are there. A plain script in the head: the page is not shown before it ran.
//
// It takes the files that are dropped or chosen. Without it, the browser would leave the page for a file that is dropped
// while the page is loading. `studioFiles.open` is set by app.js, which then gets the latest file of before.
// A page that could not be loaded whole says so and loads again when the server answers, a few times at most. One whose
// start fails says why. `studioStarted` is called by app.js when the page can be used.

(() => {
  const RETRY_MS = 1_000;
  const MOST_TRIES = 3;
  const TRIES = "midigpt-studio-tries";
  const files = { open: (file) => (files.early = file), early: null };
  window.studioFiles = files;

  const take = (file) => file && files.open(file);

  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let inside = 0;
  const show = (change) => {
    inside = change === 0 ? 0 : inside + change;
    document.getElementById("drop").hidden = inside <= 0;
  };
  addEventListener("dragenter", (event) => hasFiles(event) && show(1));
  addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(0);
    take(event.dataTransfer.files[0]);
  });
  addEventListener("change", ({ target }) => {
    if (target.id !== "file") return;
    take(target.files[0]);
    target.value = "";
  });

  // What needs the modules is inert until then. Messages and the connection are not: a screen reader reads them out.
  let starting = true;
  const enable = () => {
    starting = false;
    for (const part of document.querySelectorAll("body > [inert], header > [inert]")) part.inert = false;
    document.querySelector("main").removeAttribute("aria-busy");
  };
  const give = (state, message) => {
    enable();
    showState(state);
    const notice = document.createElement("div");
    notice.className = "notice error";
    notice.role = "alert";
    const text = document.createElement("p");
    text.textContent = message;
    notice.append(text);
    document.getElementById("notices").append(notice);
  };
  const showState = (text) => {
    document.getElementById("connection").classList.add("down");
    document.getElementById("connection-text").textContent = text;
  };
  window.studioStarted = () => {
    enable();
    setTries(0);
  };

  // Loads in a row that were not whole. A browser that does not keep the number would load again for ever.
  const tries = () => {
    try {
      return Number(sessionStorage.getItem(TRIES));
    } catch {
      return MOST_TRIES;
    }
  };
  const setTries = (number) => {
    try {
      sessionStorage.setItem(TRIES, number);
    } catch {
      // `tries` gives up in such a browser.
    }
  };

  const answers = (url) => fetch(url, { cache: "no-store" }).then(({ ok }) => ok, () => false);
  const again = async () => {
    if (!(await answers("models"))) setTimeout(again, RETRY_MS);
    else if (tries() < MOST_TRIES) location.reload();
    else giveUp();
  };
  const giveUp = async () => {
    const urls = performance.getEntriesByType("resource").map(({ name }) => name);
    const files = [...new Set(urls.filter((url) => url.endsWith(".js")))];
    const found = await Promise.all(files.map(answers));
    const missing = files.filter((_, index) => !found[index]).map((url) => new URL(url).pathname.slice(1));
    const what = missing.join(", ") || "a file of this page";
    give("Page not complete", `The server answers, but ${what} could not be loaded. Restart the server, then reload the page.`);
  };
  const broken = () => {
    setTries(tries() + 1);
    showState("Server not reachable, trying again");
    setTimeout(again, RETRY_MS * 2 ** (Math.min(tries(), MOST_TRIES) - 1));
  };

  const failed = (error) => {
    if (starting) give("Page not started", `The page could not start (${error?.message ?? error}). Reload it.`);
  };
  // Loading errors do not bubble.
  const onError = (event) => {
    if (event.target === window) failed(event.error ?? event.message);
    else if (event.target.localName === "script") broken();
  };
  addEventListener("error", onError, { capture: true });
  addEventListener("unhandledrejection", ({ reason }) => failed(reason));
})();
