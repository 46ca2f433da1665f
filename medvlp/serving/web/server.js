// What the page asks of its server, and nothing else of anybody.

/** A request; a refusal becomes an Error with the server's sentence. */
async function asked(path, options = {}) {
  const answer = await fetch(path, { credentials: "same-origin", ...options })
    .catch(() => { throw new Error("No answer came: the reading room was closed, the line is down, or a file is no longer where it was."); });
  if (answer.ok) return answer;
  let sentence = `The server answered ${answer.status}.`;
  try {
    sentence = JSON.parse(await answer.text()).error ?? sentence;
  } catch { /* a plain refusal of the guard */ }
  throw new Error(answer.status === 403 ? "The session ended: reload the page." : sentence);
}

export const getJson = async (path) => (await asked(path)).json();
export const openSample = async (number) => (await asked(`/rr/samples/${number}`, { method: "POST" })).json();
export const openArchived = async (list, number) => (await asked(`/rr/archive/${list}/${number}`, { method: "POST" })).json();
/** One file of a series, to look at while the others are on their way; null where it is no slice. */
export async function openLook(file) {
  const answer = await asked("/rr/look", { method: "POST", body: file });
  return answer.status === 204 ? null : answer.json();
}
export const forget = (key) => asked(`/rr/studies/${key}`, { method: "DELETE" });

/** Send files as they are: one alone, several behind their lengths; streamed from disk by the browser. */
export async function openFiles(files) {
  if (files.length === 1) return (await asked("/rr/studies", { method: "POST", body: files[0] })).json();
  const parts = [];
  for (const file of files) {
    const length = new DataView(new ArrayBuffer(8));
    length.setBigUint64(0, BigInt(file.size), true);
    parts.push(length.buffer, file);
  }
  const type = "application/x-medvlp-files";
  return (await asked("/rr/studies", { method: "POST", body: new Blob(parts, { type }), headers: { "content-type": type } })).json();
}

/** 16-bit values of frames or slices first..last-1. */
export async function pixels(key, series, first, last, signed) {
  const buffer = await (await asked(`/rr/studies/${key}/series/${series}/pixels/${first}/${last}`)).arrayBuffer();
  return signed ? new Int16Array(buffer) : new Uint16Array(buffer);
}

/** Red, green and blue of each pixel of a frame. */
export async function colours(key, series, frame) {
  return new Uint8Array(await (await asked(`/rr/studies/${key}/series/${series}/colours/${frame}`)).arrayBuffer());
}

// The server keeps a queue of messages for each of its sessions: as few as there are calls at a time, used again.
const free = [];

/** Call a queued function and wait for what it gives. */
export async function call(name, ...data) {
  const headers = { "content-type": "application/json" };
  const session = free.pop() ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
  const body = JSON.stringify({ data, session_hash: session });
  const started = await asked(`/gradio_api/call/${name}`, { method: "POST", headers, body });
  const { event_id: id } = await started.json();
  const told = await (await asked(`/gradio_api/call/${name}/${id}`)).text();
  const at = told.search(/^event: complete$/m); // not what an answer quotes, which stands behind "data:"
  if (at < 0) throw new Error("The server failed on this.");
  free.push(session); // not one that failed: what is left in its queue would answer the next call
  const [result] = JSON.parse(told.slice(told.indexOf("data:", at) + 5));
  if (result.error) throw new Error(result.error);
  return result;
}

/** Tell the server that the page is here, and at once when it goes; returns what tells it now. */
export function stayAlive(every, seen) {
  const beat = () => getJson("/rr/alive").then(seen, () => {});
  setInterval(beat, every);
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") beat(); });
  addEventListener("pagehide", () => navigator.sendBeacon("/rr/close"));
  beat();
  return beat;
}
