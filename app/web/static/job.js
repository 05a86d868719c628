// The slider over a job's samples, also after the page has renewed itself.
"use strict";
document.addEventListener("input", (event) => {
  const samples = event.target.closest(".samples");
  if (!samples || event.target.type !== "range") return;
  const ids = samples.dataset.samples.split(",");
  samples.querySelector("img").src = `/artifacts/${ids[event.target.value - 1]}`;
});
// Whoever looks at an earlier picture or reads the log is not disturbed.
document.addEventListener("htmx:beforeSwap", (event) => {
  const live = document.getElementById("live");
  if (event.detail.target !== live) return;
  const slider = live.querySelector(".samples input[type=range]");
  const looking = slider && slider.value !== slider.max || live.contains(document.activeElement);
  const reading = live.querySelector("details[open]");
  if ((looking || reading) && event.detail.xhr.responseText.includes("hx-get=")) event.detail.shouldSwap = false;
});
