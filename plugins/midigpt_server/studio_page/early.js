// What must work before the modules of the page are there. A plain script in the head: the page is not shown before it ran.
//
// It takes the files that are dropped or chosen. Without it, the browser would leave the page for a file that is dropped
// while the page is loading. `studioFiles.open` is set by app.js, which then gets the latest file of before.
// A page that could not be loaded whole says so and loads again when the server answers.

(() => {
  const RETRY_MS = 1_000;
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

  const reload = async () => {
    const up = await fetch("models", { cache: "no-store" }).then(({ ok }) => ok, () => false);
    if (up) location.reload();
    else setTimeout(reload, RETRY_MS);
  };
  const broken = ({ target }) => {
    if (target.localName !== "script") return;
    document.getElementById("connection").classList.add("down");
    document.getElementById("connection-text").textContent = "Server not reachable, trying again";
    setTimeout(reload, RETRY_MS);
  };
  // Loading errors do not bubble.
  addEventListener("error", broken, { capture: true });
})();
