// A file in parts, its inspection, and a job.
"use strict";
(() => {
  const id = (name) => document.getElementById(name);
  const file = id("file"), drop = id("drop"), told = id("told"), fault = id("fault"), sent = id("sent");
  const PIECE = 4 * 2 ** 20, TRIES = 6;
  const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
  const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

  class Refused extends Error {
    constructor(problem) {
      super(problem.detail || problem.title || "The server refused.");
      this.problem = problem;
    }
  }

  // Whatever may pass is tried again, each time later.
  const ask = async (url, options) => {
    for (let attempt = 0; ; attempt++) {
      let answer = null;
      try { answer = await fetch(url, options); } catch (error) { if (attempt >= TRIES) throw error; }
      if (answer && answer.ok) return answer.json();
      const passing = !answer || [408, 429].includes(answer.status) || answer.status >= 500;
      if (!passing || attempt >= TRIES) throw new Refused(await answer.json().catch(() => ({})));
      await wait(Number(answer?.headers.get("Retry-After")) || 2 ** attempt / 2);
    }
  };
  const post = (url, body, key) => ask(url, {
    method: "POST", body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", ...(key ? { "Idempotency-Key": key } : {}) },
  });

  const digest = async (blob, tell) => {
    const hasher = await hashwasm.createSHA256();
    hasher.init();
    for (let at = 0; at < blob.size; at += PIECE) {
      hasher.update(new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer()));
      tell?.(Math.min(1, (at + PIECE) / blob.size));
    }
    return hasher.digest("binary");
  };

  // One that broke off goes on where it was: the server knows which parts it has.
  const begun = async (blob, sha256) => {
    const name = `upload ${sha256}`, known = localStorage.getItem(name);
    if (known) {
      const answer = await fetch(`/uploads/${known}`).catch(() => null);
      if (answer && answer.ok) return answer.json();
    }
    const upload = await post("/uploads", { filename: blob.name, bytes: blob.size, sha256 });
    localStorage.setItem(name, upload.id);
    return upload;
  };

  const send = async (blob) => {
    sent.hidden = false;
    told.textContent = "Computing the SHA-256 …";
    const sha256 = hex(await digest(blob, (part) => { sent.value = 20 * part; }));
    const upload = await begun(blob, sha256);
    told.textContent = `Uploading, SHA-256 ${sha256} …`;
    const there = new Set(upload.parts.map((part) => part.number));
    for (let number = 1; number <= upload.part_count && upload.status === "open"; number++) {
      if (!there.has(number)) {
        const part = blob.slice((number - 1) * upload.part_bytes, number * upload.part_bytes);
        const named = `sha-256=:${base64(await digest(part))}:`;
        const headers = { "Content-Type": "application/octet-stream", "Content-Digest": named };
        await ask(`/uploads/${upload.id}/parts/${number}`, { method: "PUT", body: part, headers });
      }
      sent.value = 20 + 80 * number / upload.part_count;
    }
    await ask(`/uploads/${upload.id}/complete`, { method: "POST" });
    localStorage.removeItem(`upload ${sha256}`);
    const architecture = id("architecture").value.trim();
    const teacher = await post("/teachers", { upload_id: upload.id, ...(architecture ? { architecture } : {}) });
    told.textContent = `Uploaded ${blob.name}, SHA-256 ${sha256}.`;
    sent.value = 100;
    await htmx.ajax("GET", `/ui/teachers/${teacher.id}`, { target: "#teacher", swap: "innerHTML" });
  };

  const begin = async (blob) => {
    fault.hidden = true;
    file.disabled = true;
    try { await send(blob); } catch (error) {
      fault.textContent = error.message;
      fault.hidden = false;
      told.textContent = "";
    } finally { file.disabled = false; }
  };
  file.addEventListener("change", () => file.files[0] && begin(file.files[0]));
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) begin(event.dataTransfer.files[0]);
  });

  const specOf = (form) => {
    const given = new FormData(form), architecture = given.get("architecture");
    const student = architecture ? { architecture } : { target: { max_parameters: Number(given.get("max_parameters")) } };
    return {
      teacher_id: id("inspection").dataset.teacher, student, method: { name: given.get("method") },
      budget: { steps: Number(given.get("steps")) }, seed: Number(given.get("seed")),
      exports: ["safetensors", ...given.getAll("exports")],
    };
  };
  const complain = (form, error) => {
    for (const place of form.querySelectorAll("[data-for]")) place.hidden = true;
    const faults = error?.problem?.errors?.length ? error.problem.errors : error ? [{ pointer: "", detail: error.message }] : [];
    for (const { pointer, detail } of faults) {
      const place = [...form.querySelectorAll("[data-for]")].find((p) => p.dataset.for && pointer.startsWith(p.dataset.for))
        || form.querySelector('[data-for=""]');
      place.textContent = detail;
      place.hidden = false;
    }
  };
  const price = async (form) => {
    try {
      const { estimate } = await post("/jobs/validate", specOf(form));
      const teacher = estimate.teacher_seconds === null ? "" : `, of which the teacher's passes take about ${estimate.teacher_seconds} s here`;
      id("cost").textContent = `${estimate.student_updates.toLocaleString("en")} updates of the student${teacher}.`;
      complain(form, null);
    } catch (error) { id("cost").textContent = ""; complain(form, error); }
  };
  document.addEventListener("change", (event) => event.target.form?.id === "job" && price(event.target.form));
  document.addEventListener("htmx:load", () => id("job") && !id("cost").textContent && price(id("job")));
  document.addEventListener("submit", async (event) => {
    if (event.target.id !== "job") return;
    event.preventDefault();
    const form = event.target, button = form.querySelector("button");
    button.disabled = true;
    form.dataset.key ||= hex(crypto.getRandomValues(new Uint8Array(16)));
    try {
      const job = await post("/jobs", specOf(form), form.dataset.key);
      location.href = `/ui/jobs/${job.id}`;
    } catch (error) {
      delete form.dataset.key;
      complain(form, error);
      button.disabled = false;
    }
  });
})();
