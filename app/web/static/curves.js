// Curves of one job, or of several over each other, in the places that the page keeps for them.
"use strict";
(() => {
  const place = document.querySelector(".curves");
  if (!place) return;
  const POINTS = 1000, GLANCE = 500, MOST = 3000, HEIGHT = 220;
  const COLOURS = ["#2f7fd6", "#d9822b", "#2aa36b", "#b5509c", "#7a6bd1", "#b09a1e"];
  const jobs = place.dataset.jobs.split(","), undrawn = place.dataset.undrawn ? new RegExp(place.dataset.undrawn) : null;
  const reset = place.querySelector("[data-reset]");
  const figures = [...place.querySelectorAll("figure")].map((root) => ({
    root, series: root.dataset.series ? new RegExp(root.dataset.series) : null, divisor: Number(root.dataset.divisor),
    box: root.querySelector(".plot"), plot: null, lines: [], log: false,
  }));
  const ordered = [...figures].sort((a, b) => (a.series === null) - (b.series === null));
  let steps = [], columns = new Map(), waiting = false, zoomed = false, complete = false;

  const figureOf = (name) => ordered.find(({ series }) => !series || series.test(name));
  const column = (job, name) => {
    const key = `${job} ${name}`;
    if (!columns.has(key)) columns.set(key, new Array(steps.length).fill(null));
    return columns.get(key);
  };
  const take = (job, at, point) => {
    for (const [name, value] of Object.entries(point))
      if (name !== "step" && name !== "seconds" && !undrawn?.test(name)) column(job, name)[at] = value;
  };

  const ask = async (job, query) => {
    const answer = await fetch(`/jobs/${job}/metrics?${query}`);
    return answer.ok ? (await answer.json()).data : null;
  };
  const load = (all, whole) => {
    complete = whole;
    columns = new Map();
    steps = [...new Set(all.flat().map((point) => point.step))].sort((a, b) => a - b);
    const row = new Map(steps.map((step, i) => [step, i]));
    all.forEach((points, j) => { for (const point of points) take(jobs[j], row.get(point.step), point); });
    draw();
  };

  const shown = (figure, values) => {
    if (figure.divisor === 1 && !figure.log) return values;
    return values.map((v) => v === null || v === undefined || figure.log && v <= 0 ? null : v / figure.divisor);
  };
  const paint = (figure) => {
    const lines = [...columns.keys()].filter((key) => figureOf(key.slice(key.indexOf(" ") + 1)) === figure);
    if (!lines.length || steps.length < 2) return;
    const data = [steps, ...lines.map((key) => shown(figure, columns.get(key)))];
    const same = figure.plot && lines.join() === figure.lines.join();
    if (same) { figure.plot.setData(data, !zoomed); if (zoomed) figure.plot.redraw(); return; }
    figure.plot?.destroy();
    figure.box.replaceChildren();
    figure.lines = lines;
    figure.plot = new uPlot(options(figure, lines), data, figure.box);
    const legend = figure.box.querySelector(".u-legend");
    if (legend.scrollHeight > legend.clientHeight) legend.tabIndex = 0; // so that keys can scroll it
  };
  // One drawing a frame: none of them makes the page wait.
  let drawing = 0;
  const draw = () => {
    cancelAnimationFrame(drawing);
    const left = [...figures];
    const next = () => { const figure = left.shift(); if (figure) { paint(figure); drawing = requestAnimationFrame(next); } else drawn(); };
    drawing = requestAnimationFrame(next);
  };
  const drawn = () => {
    if (steps.length < 2) return;
    place.dataset.drawn = steps.length;
    place.toggleAttribute("data-complete", complete);
  };

  const numbers = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, notation: "compact" });
  const short = (value) => value === null ? "" : Math.abs(value) < 1e-4 && value !== 0 ? value.toExponential() : numbers.format(value);

  const options = (figure, lines) => {
    const style = getComputedStyle(document.documentElement);
    const axis = { stroke: style.getPropertyValue("--dim").trim(), grid: { stroke: style.getPropertyValue("--line").trim(), width: 1 }, ticks: { stroke: style.getPropertyValue("--line").trim() } };
    const series = lines.map((key, i) => {
      const [job, name] = key.split(" ");
      const label = jobs.length > 1 ? `…${job.slice(-8)}` : name.replaceAll("_", " ");
      const value = (_, v) => v === null || v === undefined ? "–" : short(v);
      return { label, value, stroke: COLOURS[(jobs.length > 1 ? jobs.indexOf(job) : i) % COLOURS.length], width: 1.5, spanGaps: true, points: { show: false } };
    });
    return {
      width: figure.box.clientWidth, height: HEIGHT, scales: { x: { time: false }, y: figure.log ? { distr: 3 } : {} },
      cursor: { sync: { key: "steps", setSeries: false } }, hooks: { setSelect: [(u) => closer(u)] },
      axes: [axis, { ...axis, size: 62, values: (_, ticks) => ticks.map(short) }], series: [{ label: "step", value: (_, v) => v === null ? "–" : v.toLocaleString("en") }, ...series],
    };
  };

  // All drawings show the same steps.
  let busy = false;
  const closer = (plot) => {
    if (busy || plot.select.width < 3) return;
    busy = true;
    const min = plot.posToVal(plot.select.left, "x"), max = plot.posToVal(plot.select.left + plot.select.width, "x");
    zoomed = true;
    reset.disabled = false;
    for (const { plot: other } of figures) if (other && other !== plot) other.setScale("x", { min, max });
    busy = false;
  };
  const whole = () => {
    zoomed = false;
    reset.disabled = true;
    for (const { plot } of figures) plot?.setScale("x", { min: steps[0], max: steps[steps.length - 1] });
  };
  reset.addEventListener("click", whole);
  place.addEventListener("dblclick", whole);
  place.addEventListener("click", (event) => {
    const button = event.target.closest("[data-log]");
    if (!button) return;
    const figure = figures.find(({ root }) => root.contains(button));
    figure.log = !figure.log;
    button.setAttribute("aria-pressed", figure.log);
    figure.lines = [];
    paint(figure);
  });

  const redo = () => { for (const figure of figures) figure.lines = []; draw(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redo);
  let sized = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(sized);
    sized = requestAnimationFrame(() => { for (const { plot, box } of figures) plot?.setSize({ width: box.clientWidth, height: HEIGHT }); });
  });
  // What is asked later is newer, and nothing older is shown after it.
  let asked = 0, shows = 0;
  const show = async (query, whole) => {
    const mine = ++asked;
    let all = null;
    try { all = await Promise.all(jobs.map((job) => ask(job, query))); } catch { dfad.away(true); return; }
    if (mine < shows || all.every((points) => !points)) return; // what is drawn stays
    shows = mine;
    load(all.map((points) => points ?? []), whole);
  };
  const reload = () => show(`points=${POINTS}&peaks=true`, true);
  document.addEventListener("dfad:reading", ({ detail: { job, ...point } }) => {
    const last = steps[steps.length - 1];
    if (point.step === last) return;
    // An attempt that begins again repeats steps; and a long sitting gathers more than can be seen.
    if (point.step < last || steps.length > MOST) { reload(); return; }
    steps.push(point.step);
    for (const values of columns.values()) values.push(null);
    take(job, steps.length - 1, point);
    if (waiting) return;
    waiting = true;
    setTimeout(() => { waiting = false; draw(); }, 500);
  });
  document.addEventListener("dfad:ended", reload);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && "live" in place.dataset) reload(); });
  // To keep the peaks of a long job the server looks at all of it; some readings of it are there sooner.
  show(`points=${GLANCE}`, false);
  reload();
})();
