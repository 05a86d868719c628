// Labelled images for a job that has ended: uploaded, and measured by a worker.
"use strict";
(() => {
  const id = (name) => document.getElementById(name);
  const SOON = 1000, LATER = 5000;
  // The page is asked for again as soon as there are figures, or the reason why there are none.
  const look = async () => {
    const waits = id("measuring");
    if (!waits) return;
    const answer = await fetch(`/jobs/${waits.dataset.job}`).catch(() => null);
    const job = answer?.ok ? await answer.json() : null;
    dfad.away(!answer);
    if (job && job.measurement?.status !== "waiting") location.reload();
    else setTimeout(look, job ? SOON : LATER);
  };
  document.addEventListener("submit", async (event) => {
    if (event.target.id !== "measure") return;
    event.preventDefault();
    const form = event.target, button = form.querySelector("button"), file = form.labelled.files[0];
    const tell = (text) => { id("measure-told").textContent = text; };
    button.disabled = true;
    try {
      const upload = await dfad.send(file, tell);
      await dfad.post(`/jobs/${form.dataset.job}/measure`, { upload_id: upload.id });
      location.reload();
    } catch (error) {
      tell(error.message);
      button.disabled = false;
    }
  });
  look();
})();
