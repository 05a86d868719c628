// Curves of one job, or of several over each other.
"use strict";
(() => {
  const place = document.querySelector(".curves");
  if (!place) return;
  const jobs = place.dataset.jobs.split(",");
  const POINTS = 1000, EVERY = 3000;
  const COLOURS = ["#2f7fd6", "#d9822b", "#2aa36b", "#b5509c", "#7a6bd1", "#b09a1e"];
  const GROUPS = [
    ["Losses", (name) => /loss|discrepancy|kl|bn/.test(name)],
    ["Agreement", (name) => /agree|fidelity|accuracy/.test(name)],
    ["Step time, s", (name) => /seconds|time/.test(name)],
    ["Others", () => true],
  ];
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--dim").trim(), line = style.getPropertyValue("--line").trim();
  const plots = new Map();

  const load = async (job) => {
    const answer = await fetch(`/jobs/${job}/metrics?points=${POINTS}`);
    return answer.ok ? (await answer.json()).data : [];
  };

  const withSpeed = (points) => points.map((point, i) => {
    const before = points[i - 1];
    const steps = before ? point.step - before.step : 0;
    return { ...point, step_seconds: steps > 0 ? (point.seconds - before.seconds) / steps : null };
  });

  const draw = async () => {
    const all = (await Promise.all(jobs.map(load))).map(withSpeed);
    const steps = [...new Set(all.flat().map((point) => point.step))].sort((a, b) => a - b);
    const row = new Map(steps.map((step, i) => [step, i]));
    const names = [...new Set(all.flat().flatMap((point) => Object.keys(point)))].filter((n) => !["step", "seconds"].includes(n));
    const groups = new Map(GROUPS.map(([title]) => [title, []]));
    for (const name of names) groups.get(GROUPS.find(([, fits]) => fits(name))[0]).push(name);
    for (const [title, members] of groups) {
      if (!members.length || steps.length < 2) continue;
      const series = [], data = [steps];
      members.forEach((name) => jobs.forEach((job, j) => {
        const values = new Array(steps.length).fill(null);
        for (const point of all[j]) values[row.get(point.step)] = point[name] ?? null;
        data.push(values);
        const label = jobs.length > 1 ? `${name} ${job.slice(-8)}` : name;
        series.push({ label, stroke: COLOURS[series.length % COLOURS.length], width: 1.5, spanGaps: true });
      }));
      show(title, series, data);
    }
  };

  const show = (title, series, data) => {
    const known = plots.get(title);
    if (known && known.series.length === series.length + 1) { known.setData(data); return; }
    if (known) known.root.parentElement.remove();
    const figure = document.createElement("figure");
    figure.setAttribute("aria-label", title);
    place.append(figure);
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    const options = {
      title, width: figure.clientWidth, height: 260, scales: { x: { time: false } },
      axes: [{ ...axis, label: "step" }, { ...axis, size: 60 }], series: [{ label: "step" }, ...series],
    };
    plots.set(title, new uPlot(options, data, figure));
  };

  addEventListener("resize", () => {
    for (const plot of plots.values()) plot.setSize({ width: plot.root.parentElement.clientWidth, height: 260 });
  });

  const keepDrawing = async () => {
    await draw().catch(() => {});
    const live = document.querySelector("#live[hx-get]");
    if ("live" in place.dataset && live) setTimeout(keepDrawing, EVERY);
    else if ("live" in place.dataset) { delete place.dataset.live; await draw().catch(() => {}); }
  };
  keepDrawing();
})();
