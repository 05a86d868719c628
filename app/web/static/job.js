// A job's page while the job goes on: its log is listened to, and what changes is renewed.
"use strict";
(() => {
  const id = (name) => document.getElementById(name);
  document.addEventListener("input", (event) => {
    const samples = event.target.closest(".samples");
    if (!samples || event.target.type !== "range") return;
    const [artifact, step] = samples.dataset.samples.split(",")[event.target.value - 1].split(":");
    samples.querySelector("img").src = `/artifacts/${artifact}`;
    samples.querySelector("output").textContent = `step ${Number(step).toLocaleString("en")}`;
  });

  const live = id("live");
  if (!live.hasAttribute("hx-get")) return;
  const job = live.dataset.job;
  const STATES = ["queued", "running", "pausing", "paused", "cancelling", "cancelled", "failed", "succeeded"];
  const ENDS = ["job.cancelled", "job.failed", "job.succeeded"];
  const SOON = 250, FIRST_WAIT = 1000, LONGEST_WAIT = 15000, LOG_WAIT = 500;
  let seq = Number(live.dataset.seq), source = null, over = false, due = 0, wait = FIRST_WAIT, again = 0, logDue = 0;

  const renew = () => { clearTimeout(due); due = setTimeout(() => htmx.trigger(live, "news"), SOON); };
  // The newest page of the event log, under the filter that was chosen.
  const renewLog = async () => {
    logDue = 0;
    const kind = id("log-rows").dataset.kind, within = () => id("log-pages").contains(document.activeElement);
    if (kind === undefined) return;
    const asked = () => fetch(`/ui/jobs/${job}/log?kind=${kind}`).then((answer) => answer.ok ? answer.text() : "");
    const text = within() ? null : await asked().catch(() => null);
    // Not under somebody's keyboard, and not without a connection: later, so that the last events are shown, too.
    if (text === null || within()) { logDue ||= setTimeout(renewLog, LONGEST_WAIT); return; }
    const come = new DOMParser().parseFromString(text, "text/html");
    // A refusal or the way to sign in has no rows.
    if (!come.getElementById("log-rows") || id("log-rows").dataset.kind !== kind) return;
    for (const name of ["log-rows", "log-pages"]) id(name).replaceChildren(...come.getElementById(name).children);
    htmx.process(id("log-pages"));
  };
  const logged = (type) => {
    const shown = type !== "progress" || ["progress", "all"].includes(id("log-rows").dataset.kind);
    if (shown) logDue ||= setTimeout(renewLog, LOG_WAIT);
  };
  const retitle = (percent) => {
    const told = document.querySelector("#state [data-title]");
    if (!told) return;
    document.title = (percent === undefined ? "" : `${Math.floor(percent)} % · `) + told.dataset.title;
    if (id("icon").getAttribute("href") !== told.dataset.icon) id("icon").setAttribute("href", told.dataset.icon);
  };
  const advance = ({ step, percent, eta_seconds: left, metrics, phase }) => {
    const number = (one) => one.toLocaleString("en");
    if (id("counted")) id("counted").textContent = phase ? `${number(phase.done)} of ${number(phase.total)} ${phase.unit}` : "";
    if (id("bar")) id("bar").value = percent;
    if (id("step")) id("step").textContent = step.toLocaleString("en");
    if (id("eta")) id("eta").textContent = left === null ? "" : `${dfad.seconds(left)} left`;
    retitle(percent);
    if (!phase) document.dispatchEvent(new CustomEvent("dfad:reading", { detail: { job, step, ...metrics } }));
  };
  const hear = (event) => {
    const { seq: number, type, data } = JSON.parse(event.data);
    seq = Math.max(seq, number);
    logged(type);
    if (type === "progress") { advance(data); return; }
    if (ENDS.includes(type)) { over = true; close(); live.removeAttribute("hx-trigger"); }
    renew();
  };
  const close = () => { clearTimeout(again); source?.close(); source = null; };
  // The browser comes back by itself after a connection that broke, but not after a refusal.
  const open = () => {
    close();
    if (over || document.hidden) return;
    source = new EventSource(`/jobs/${job}/events?after=${seq}`);
    for (const type of ["progress", "phase", "samples", "note", "warning", ...STATES.map((s) => `job.${s}`)])
      source.addEventListener(type, hear);
    source.onopen = () => { wait = FIRST_WAIT; dfad.away(false); };
    source.onerror = () => {
      dfad.away(true);
      if (source?.readyState !== EventSource.CLOSED) return;
      again = setTimeout(open, wait);
      wait = Math.min(2 * wait, LONGEST_WAIT);
    };
  };
  document.addEventListener("visibilitychange", () => document.hidden ? close() : open());
  addEventListener("online", open);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  document.addEventListener("htmx:oobAfterSwap", (event) => {
    if (event.detail.target.id !== "state") return;
    retitle();
    if (!over) return;
    document.dispatchEvent(new CustomEvent("dfad:ended"));
  });
  open();
})();
