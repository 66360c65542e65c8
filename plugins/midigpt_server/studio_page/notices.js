// Messages above the desk: what went wrong, what was lost, what can be taken back.

import { element, find, icon } from "./dom.js";

const SHOWN_MS = 8_000;

/** Show a message. kind: info, warning or error; errors stay until they are closed. `action`: {label, act}. */
export function notify(kind, text, action = null) {
  const notice = element("div", { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" });
  const close = () => notice.remove();
  notice.append(element("p", {}, text));
  if (action) {
    const act = () => {
      close();
      action.act();
    };
    notice.append(element("button", { class: "button small", type: "button", onclick: act }, action.label));
  }
  const button = { class: "button square quiet small", type: "button", "aria-label": "Close the message", onclick: close };
  notice.append(element("button", button, icon("close")));
  // The same message once.
  for (const other of find("notices").children) if (other.firstChild.textContent === text) other.remove();
  find("notices").append(notice);
  if (kind !== "error") setTimeout(close, SHOWN_MS);
  return close;
}
