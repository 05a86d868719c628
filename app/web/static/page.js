// On every page: what renews itself does so quietly, and what can be copied has a button.
"use strict";
(() => {
  const lost = document.getElementById("lost"), before = new Map();
  const polls = (element) => /every/.test(element?.getAttribute("hx-trigger") || "");
  const away = (is) => { lost.hidden = !is; };
  window.dfad = {
    away,
    seconds: (number) => {
      const whole = Math.round(number), h = Math.floor(whole / 3600), min = Math.floor(whole % 3600 / 60);
      return h ? `${h} h ${min} min` : min ? `${min} min ${whole % 60} s` : number < 9.95 ? `${number.toFixed(1)} s` : `${whole} s`;
    },
  };

  const on = (name, act) => document.addEventListener(name, act);
  on("htmx:beforeRequest", (event) => { if (document.hidden && polls(event.detail.elt)) event.preventDefault(); });
  on("visibilitychange", () => { if (!document.hidden) document.body.dispatchEvent(new Event("seen")); });
  on("htmx:beforeSwap", (event) => {
    const { elt, xhr } = event.detail;
    if (xhr.responseURL && new URL(xhr.responseURL).pathname === "/ui/sign-in") {
      // Asked for again as a page, it leads to the sign-in and from there back to itself.
      location.assign(location.pathname + location.search);
      return;
    }
    if (!polls(elt) || xhr.status !== 200) return;
    // What has not changed is not drawn again: the keyboard stays where it is.
    const known = before.get(elt.id) === xhr.responseText;
    before.set(elt.id, xhr.responseText);
    if (known) event.detail.shouldSwap = false;
  });
  on("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail, made = fragment.firstElementChild;
    const slider = target.querySelector("input[type=range]");
    const looksBack = slider && slider.value !== slider.max;
    if (looksBack || made?.dataset.mark && made.dataset.mark === target.dataset.mark) event.detail.shouldSwap = false;
  });
  addEventListener("offline", () => away(true));
  addEventListener("online", () => { away(false); document.body.dispatchEvent(new Event("seen")); });
  for (const name of ["htmx:sendError", "htmx:timeout"]) on(name, () => away(true));
  on("htmx:responseError", (event) => { if (event.detail.xhr.status >= 500) away(true); });
  on("htmx:afterOnLoad", () => away(false));

  const offerCopies = (root) => {
    for (const place of root.querySelectorAll?.(".copied") || []) {
      if (place.querySelector("button") || !navigator.clipboard) continue;
      const button = document.createElement("button"), text = place.querySelector("code, pre");
      Object.assign(button, { type: "button", className: "small copy", textContent: "Copy" });
      button.setAttribute("aria-label", `Copy ${text.title || (text.tagName === "PRE" ? "the text" : "the id")}`);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      place.append(button);
    }
  };
  offerCopies(document);
  on("htmx:load", (event) => offerCopies(event.detail.elt.parentElement || document));
})();
