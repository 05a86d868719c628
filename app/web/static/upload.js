// A file in parts, each with its SHA-256; one that broke off goes on where it was.
"use strict";
(() => {
  const PIECE = 4 * 2 ** 20, TRIES = 6, LONGEST_PAUSE = 60, MARK = "upload ";
  const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
  const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

  class Refused extends Error {
    constructor(problem) {
      super(problem.errors?.length ? problem.errors.map((e) => e.detail).join(" ") : problem.detail || "The server refused.");
      this.problem = problem;
    }
  }

  // Whatever may pass is tried again, each time later.
  const ask = async (url, options) => {
    for (let attempt = 0; ; attempt++) {
      let answer = null;
      try { answer = await fetch(url, options); } catch (error) {
        if (attempt >= TRIES) throw new Error("The server cannot be reached. Choose the file again to go on: what has arrived is not sent twice.");
      }
      dfad.away(!answer);
      if (answer && answer.ok) return answer.json();
      const pause = Number(answer?.headers.get("Retry-After"));
      const passing = !answer || [408, 429].includes(answer.status) || answer.status >= 500;
      if (!passing || pause > LONGEST_PAUSE || attempt >= TRIES) throw new Refused(await answer.json().catch(() => ({})));
      await wait(pause || 2 ** attempt / 2);
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

  const begun = async (blob, sha256) => {
    const known = JSON.parse(localStorage.getItem(MARK + sha256) || "null");
    if (known) {
      const answer = await fetch(`/uploads/${known.id}`).catch(() => null);
      const upload = answer?.ok ? await answer.json() : null;
      if (upload && ["open", "completed"].includes(upload.status)) return upload;
    }
    const upload = await post("/uploads", { filename: blob.name, bytes: blob.size, sha256 });
    localStorage.setItem(MARK + sha256, JSON.stringify({ id: upload.id, name: blob.name }));
    return upload;
  };

  // The upload's id and the SHA-256. `tell(text, percent)` hears how far it is.
  const send = async (blob, tell) => {
    const sha256 = hex(await digest(blob, (part) => tell("Computing the SHA-256 …", 20 * part)));
    const upload = await begun(blob, sha256), there = new Set(upload.parts.map((part) => part.number));
    const start = Date.now();
    let sent = 0;
    for (let number = 1; number <= upload.part_count && upload.status === "open"; number++) {
      if (!there.has(number)) {
        const part = blob.slice((number - 1) * upload.part_bytes, number * upload.part_bytes);
        const headers = { "Content-Type": "application/octet-stream", "Content-Digest": `sha-256=:${base64(await digest(part))}:` };
        await ask(`/uploads/${upload.id}/parts/${number}`, { method: "PUT", body: part, headers });
        sent += part.size;
      }
      const left = Math.max(0, blob.size - number * upload.part_bytes);
      const eta = sent && left ? `, ${dfad.seconds(left * (Date.now() - start) / 1000 / sent)} left` : "";
      tell(`Uploading: part ${number} of ${upload.part_count}${eta}`, 20 + 80 * number / upload.part_count);
    }
    if (upload.status === "open") await ask(`/uploads/${upload.id}/complete`, { method: "POST" });
    localStorage.removeItem(MARK + sha256);
    return { id: upload.id, sha256 };
  };

  const interrupted = () => Object.keys(localStorage).filter((name) => name.startsWith(MARK))
    .map((name) => { try { return JSON.parse(localStorage.getItem(name)).name; } catch { return null; } }).filter(Boolean);

  Object.assign(dfad, { post, send, interrupted, hex });
})();
