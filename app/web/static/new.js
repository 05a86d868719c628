// A teacher, what it is, and a job for it.
"use strict";
(() => {
  const id = (name) => document.getElementById(name);
  const file = id("file"), drop = id("drop"), told = id("told"), fault = id("fault"), sent = id("sent");
  if (!file) return;
  const { post, send } = dfad;
  let labelled = null;

  // What the fields say of the teacher, as its spec.
  const numbers = (name) => {
    const text = id(name).value.trim(), found = text.split(/[\s,]+/).map(Number);
    if (text && found.some(Number.isNaN)) throw new Error(`Write numbers, one a channel, as in 0.485, 0.456, 0.406, not ${text}.`);
    return text ? found : null;
  };
  const teacherSpec = () => {
    const text = id("input").value.trim(), mean = numbers("mean"), std = numbers("std");
    const shape = text && text.toLowerCase().split(/\s*[x×,]\s*/).map(Number);
    if (text && (shape.length !== 3 || !shape.every(Number.isInteger))) throw new Error(`Write the input as channels, height and width, as in 3x224x224, not ${text}.`);
    if (!text && (mean || std)) throw new Error("Mean and deviation need the input, as in 3x224x224.");
    const each = (values) => values.length === 1 ? Array(shape[0]).fill(values[0]) : values;
    const given = ["architecture", "weights", "output"].map((name) => [name, id(name).value.trim()]);
    const spec = Object.fromEntries(given.filter(([, value]) => value));
    if (text) spec.input = { shape, ...(mean ? { mean: each(mean) } : {}), ...(std ? { std: each(std) } : {}) };
    return spec;
  };
  // Several files as one: a tar of them. None is copied.
  const together = (files) => {
    if (files.length === 1) return files[0];
    const encoder = new TextEncoder(), octal = (value, digits) => value.toString(8).padStart(digits, "0");
    const parts = [...files].flatMap((file) => {
      const header = new Uint8Array(512), put = (text, at) => header.set(encoder.encode(text), at);
      if (encoder.encode(file.name).length > 100) throw new Error(`The name ${file.name} is too long.`);
      put(file.name, 0); put("0000644", 100); put("0000000", 108); put("0000000", 116); put(octal(file.size, 11), 124);
      put("00000000000", 136); put("        ", 148); put("0", 156); put("ustar\u000000", 257);
      put(`${octal(header.reduce((sum, byte) => sum + byte, 0), 6)}\u0000 `, 148);
      return [header, file, new Uint8Array((512 - file.size % 512) % 512)];
    });
    const model = [...files].find((file) => file.name.endsWith(".onnx")) || files[0];
    return new File([...parts, new Uint8Array(1024)], `${model.name}.tar`);
  };

  const begin = async (files) => {
    fault.hidden = true;
    file.removeAttribute("aria-invalid");
    file.disabled = true;
    sent.hidden = false;
    id("teacher").replaceChildren();
    try {
      const spec = teacherSpec(), blob = together(files);
      const upload = await send(blob, (text, percent) => { told.textContent = text; sent.value = percent; });
      const teacher = await post("/teachers", { upload_id: upload.id, ...spec });
      told.textContent = `Uploaded ${blob.name}, SHA-256 ${upload.sha256}.`;
      sent.value = 100;
      history.replaceState(null, "", `/ui/new?teacher=${teacher.id}`);
      await htmx.ajax("GET", `/ui/teachers/${teacher.id}`, { target: "#teacher", swap: "innerHTML" });
    } catch (error) {
      fault.textContent = error.message;
      fault.hidden = false;
      file.setAttribute("aria-invalid", "true");
      told.textContent = "";
    } finally { file.disabled = false; }
  };
  file.addEventListener("change", () => file.files[0] && begin(file.files));
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) begin(event.dataTransfer.files);
  });
  const [waiting] = dfad.interrupted();
  if (waiting) told.textContent = `The upload of ${waiting} broke off. Choose the same file again: what has arrived is not sent twice.`;

  class Unreadable extends Error {
    constructor(pointer, text) { super(text); this.problem = { errors: [{ pointer, detail: text }] }; }
  }
  const number = (given, name) => given.get(name) === "" ? undefined : Number(given.get(name));
  const pairs = (text, pointer, value) => Object.fromEntries(text.split(pointer === "/metadata" ? "\n" : /[\s,]+/).map((p) => p.trim()).filter(Boolean).map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new Unreadable(pointer, `Write name=value, not ${pair}.`);
    return [pair.slice(0, at).trim(), value(pair.slice(at + 1).trim())];
  }));
  const studentOf = (form, given) => {
    switch (given.get("student")) {
      case "offer": return JSON.parse(form.querySelector("[name=student]:checked").dataset.student);
      case "named": {
        const args = pairs(given.get("args"), "/student/args", Number);
        return { architecture: given.get("architecture"), ...(Object.keys(args).length ? { args } : {}) };
      }
      case "json": try { return JSON.parse(given.get("student_json")); } catch (error) { throw new Unreadable("/student", `Not JSON: ${error.message}`); }
      default: return { target: { max_parameters: number(given, "max_parameters"), max_macs: number(given, "max_macs"), max_bytes: number(given, "max_bytes") } };
    }
  };
  const specOf = (form) => {
    const given = new FormData(form), metadata = pairs(given.get("metadata"), "/metadata", String);
    const budget = { steps: number(given, "steps") }, exports = given.getAll("exports");
    if (given.get("minutes")) budget.train_seconds = 60 * given.get("minutes");
    if (given.get("deadline")) budget.max_runtime_seconds = 60 * given.get("deadline");
    const spec = { student: studentOf(form, given), method: { name: given.get("method") }, budget, seed: number(given, "seed") };
    if (exports.length) spec.exports = ["safetensors", ...exports];
    if (given.get("device") !== "auto") spec.device = given.get("device");
    if (number(given, "priority")) spec.priority = number(given, "priority");
    if (given.get("keep")) spec.keep = true;
    if (Object.keys(metadata).length) spec.metadata = metadata;
    if (labelled) spec.evaluation = { upload_id: labelled };
    return spec;
  };

  const complain = (form, error, focus) => {
    for (const place of form.querySelectorAll("[data-for]")) place.hidden = true;
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    const faults = error?.problem?.errors?.length ? error.problem.errors : error ? [{ pointer: "", detail: error.message }] : [];
    for (const { pointer, detail } of faults) {
      const place = [...form.querySelectorAll("[data-for]")].find((p) => p.dataset.for && pointer.startsWith(p.dataset.for)) || form.querySelector('[data-for=""]');
      const fields = [...form.querySelectorAll("[data-pointer]")];
      const field = fields.find((f) => f.dataset.pointer === pointer) || fields.find((f) => pointer.startsWith(f.dataset.pointer));
      const label = field?.labels?.[0]?.firstChild?.textContent.trim();
      place.textContent = label ? `${label}: ${detail}` : detail;
      place.hidden = false;
      field?.setAttribute("aria-invalid", "true");
      if (!focus) continue;
      for (let fold = (field || place).closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
      field?.focus();
      focus = false;
    }
  };
  let asked = 0;
  const price = async (form) => {
    const turn = ++asked;
    const chosen = form.querySelector("[name=method]:checked"), steps = Number(form.elements.steps.value);
    for (const one of form.querySelectorAll("[data-seconds]")) one.closest("label").querySelector("[data-time]").textContent = dfad.seconds(one.dataset.seconds * steps);
    for (const place of form.querySelectorAll("[data-with]")) place.hidden = form.elements.student.value !== place.dataset.with;
    try {
      const spec = specOf(form);
      id("spec").textContent = JSON.stringify(spec, null, 2);
      const { estimate } = await post("/jobs/validate", { ...spec, teacher_id: id("inspection").dataset.teacher });
      if (turn !== asked) return; // something was changed meanwhile
      const about = chosen?.dataset.seconds ? chosen.dataset.seconds * steps : null, most = spec.budget.train_seconds;
      const time = most && (about === null || most < about) ? `ends after ${dfad.seconds(most)}` : about === null ? "" : `about ${dfad.seconds(about)} at the speed of the inspection`;
      const after = estimate.evaluation_seconds ? `, then up to ${dfad.seconds(estimate.evaluation_seconds)} of evaluation` : "";
      const late = !most && estimate.steps_in_time !== null && estimate.steps_in_time < steps ? ` That is more than the job may take: about ${estimate.steps_in_time.toLocaleString("en")} steps end in time.` : "";
      id("cost").textContent = `${estimate.student_updates.toLocaleString("en")} updates of the student${time ? `, ${time}` : ""}${after}.${late}`;
      complain(form, null);
    } catch (error) {
      if (turn !== asked) return;
      id("cost").textContent = "";
      complain(form, error);
    }
  };
  document.addEventListener("change", async (event) => {
    const form = event.target.form;
    if (form?.id !== "job") return;
    if (event.target.name === "labelled") {
      labelled = null;
      const tell = (text) => { id("labelled-told").textContent = text; };
      try {
        if (event.target.files[0]) labelled = (await send(event.target.files[0], tell)).id;
        tell(labelled ? `Uploaded ${event.target.files[0].name}.` : "");
      } catch (error) { tell(""); complain(form, new Unreadable("/evaluation/upload_id", error.message)); return; }
    }
    price(form);
  });
  const ready = () => id("job") && !id("spec").textContent && price(id("job"));
  document.addEventListener("htmx:load", ready);
  ready();
  document.addEventListener("submit", async (event) => {
    if (event.target.id !== "job") return;
    event.preventDefault();
    const form = event.target, button = form.querySelector("button:not([type=button])");
    asked += 1;
    button.disabled = true;
    form.dataset.key ||= dfad.hex(crypto.getRandomValues(new Uint8Array(16)));
    try {
      const job = await post("/jobs", { ...specOf(form), teacher_id: id("inspection").dataset.teacher }, form.dataset.key);
      location.href = `/ui/jobs/${job.id}`;
    } catch (error) {
      delete form.dataset.key;
      button.disabled = false;
      complain(form, error, true);
    }
  });
})();
