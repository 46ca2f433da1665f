// The series of a study beside the viewer: their list, their thumbnails, and what is known of the one looked at.

import { PLANES } from "./mpr.js";
import { colours, pixels } from "./server.js";
import { curveOf, fill, packed, windowTable } from "./table.js";
import { h } from "./viewer.js";

const $ = (id) => document.getElementById(id);
export const nameOfSeries = (series) => `${series.title}${series.visit ? (series.visit === 1 ? " · prior" : ` · prior ${series.visit}`) : ""}`;
/** Frames a second, as the file wants them played (PS3.3 C.7.6.5) and a screen can. */
export const rateOf = ({ facts: { "frames a second": wanted, "cine, frames a second": cine, "frame time, ms": time } }) => Math.min(60, Math.max(1, Number(wanted) || Number(cine) || (Number(time) && 1000 / Number(time)) || 11));
export const paintOf = (series) => ({ lo: series.lo, hi: series.hi, slope: series.slope, intercept: series.intercept, inverted: false, padding: series.padding });

/** What was asked for once; what failed is asked for again. */
function kept(frames, name, ask) {
  if (!frames.has(name)) {
    const asked = ask();
    frames.set(name, asked);
    asked.catch(() => frames.delete(name));
  }
  return frames.get(name);
}

/** Values of one frame of a picture. */
export async function frameOf(study, number, index) {
  const { signed } = study.series[number].frames[index];
  return kept(study.frames, `${number}/${index}`, () => pixels(study.key, number, index, index + 1, signed));
}

/** The colours of a frame that has some, else null. */
export async function coloursOf(study, number, index) {
  if (!study.series[number].frames[index].coloured) return null;
  return kept(study.frames, `${number}/${index}/colours`, () => colours(study.key, number, index));
}

/** List them; `chosen` is called with the number of the one clicked. */
export function listSeries(study, chosen) {
  $("series").hidden = false;
  $("series").querySelector("ol").replaceChildren(...study.series.map((series, number) => {
    const size = series.kind === "volume" ? `${series.count} × ${series.rows} × ${series.columns}` : `${series.rows} × ${series.columns}${series.count > 1 ? ` × ${series.count}` : ""}`;
    const canvas = h("canvas", { width: 52, height: 52 });
    thumbnail(study, canvas, number).catch(() => {}); // it stays black; the pane says why
    return h("li", {}, h("button", { type: "button", onclick: () => chosen(number) }, canvas,
      h("span", {}, h("b", {}, nameOfSeries(series)), h("span", { className: "fine" }, size),
        series.warnings.length ? h("span", { className: "fine warned", title: series.warnings.join("\n") }, ` ▲ ${series.warnings.length}`) : null)));
  }));
}

async function thumbnail(study, canvas, number) {
  const series = study.series[number], volume = series.kind === "volume", middle = Math.floor(series.count / 2);
  const [values, rgb] = await Promise.all(volume ? [pixels(study.key, number, middle, middle + 1, true)] : [frameOf(study, number, 0), coloursOf(study, number, 0)]);
  const paint = volume ? paintOf(series) : series.frames[0];
  const table = packed(volume ? windowTable(paint, ...series.windows[0].slice(1)) : curveOf(paint.curve), false);
  const image = canvas.getContext("2d").createImageData(52, 52), out = new Uint32Array(image.data.buffer).fill(0xff000000);
  const step = Math.max(series.rows, series.columns) / 52, [tall, wide] = [series.rows, series.columns].map((n) => Math.max(1, Math.floor(n / step)));
  const top = Math.floor((52 - tall) / 2), left = Math.floor((52 - wide) / 2), row = new Int32Array(wide), painted = new Uint32Array(wide);
  for (let y = 0; y < tall; y++) {
    const at = (x) => Math.floor(y * step) * series.columns + Math.floor(x * step), pixel = (n) => (rgb[n + 2] << 16) | (rgb[n + 1] << 8) | rgb[n];
    for (let x = 0; x < wide; x++) row[x] = values[at(x)];
    if (rgb) for (let x = 0; x < wide; x++) painted[x] = 0xff000000 | pixel(3 * at(x));
    else fill(painted, row, table, paint.lo, paint.padding);
    out.set(painted, (y + top) * 52 + left);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** What the file says of itself, and what was done to show it. */
export function tellFacts(series, index) {
  const own = series.frames?.[index] ?? series; // of two frames each has its own pixels
  $("facts").hidden = false;
  const flat = series.kind !== "volume" || series.look; // of a slice alone its thickness is no distance
  const mm = own.spacing ? own.spacing.filter((_, n) => !series.look || n !== PLANES[series.look].cut).map((s) => Number(s.toPrecision(3))).join("\u200a×\u200a") : null;
  const g = series.geometry ?? {};
  const rows = { ...series.facts, polarity: series.photometric, values: own.unit, [flat ? "pixel, mm" : "voxel, mm"]: mm ?? "not calibrated", measured: own.spacing && series.kind === "image" ? ({ detector: "at the detector", calibrated: "in the patient" }[own.spacing_kind] ?? "the file does not say where") : "",
    hung: series.hanging, orientation: g.orientation, "slice step": g.spacing ? `${g.spacing.toFixed(2)} mm` : "", tilt: g.tilt > 0.1 ? `${g.tilt.toFixed(1)}°` : "" };
  $("facts").querySelector("dl").replaceChildren(...Object.entries(rows).filter(([, value]) => value !== "" && value !== undefined && value !== null)
    .flatMap(([name, value]) => [h("dt", {}, name), h("dd", { title: value }, String(value))]));
  $("facts").querySelector(".notes").replaceChildren(...series.warnings.map((note) => h("li", {}, note)));
  $("made").querySelector("ol").replaceChildren(...series.steps.map((words) => h("li", {}, words)));
}
