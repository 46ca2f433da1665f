// How much each slice counts in what a model makes of a volume: a strip along it to jump by.

import { indicesOf, PLANES } from "./mpr.js";
import { h, svg } from "./viewer.js";

/** What `slices` told, as bars at indices along the plane that the model's slices run across. */
export function strip(told, series) {
  const at = indicesOf(series.affine, told.place_mm);
  const reach = [0, 1, 2].map((axis) => Math.abs(at.at(-1)[axis] - at[0][axis])), axis = reach.indexOf(Math.max(...reach));
  const cut = Object.keys(PLANES).find((name) => PLANES[name].cut === axis), count = [series.count, series.rows, series.columns][axis];
  const bars = told.weights.map((weight, n) => ({ weight, at: Math.min(count - 1, Math.max(0, Math.round(at[n][axis]))) }));
  return { cut, count, bars, heaviest: bars[told.heaviest], even: 1 / bars.length };
}

/** Draw it as wide as the slider of slices, the head at its left as there. */
export function drawStrip(root, { cut, count, bars, heaviest, even }, index, go) {
  const place = (n) => (cut === "axial" ? count - 1 - n : n), top = heaviest.weight || 1, wide = Math.max(1, count / bars.length);
  const picture = svg("svg", { viewBox: `0 0 ${count} 24`, preserveAspectRatio: "none", role: "img",
    "aria-label": `Weight of each slice; the heaviest is ${heaviest.at + 1} of ${count}` });
  for (const bar of bars) {
    const tall = (22 * bar.weight) / top;
    picture.append(svg("rect", { class: bar === heaviest ? "bar heaviest" : "bar", x: place(bar.at) + 0.5 - wide / 2, y: 24 - tall, width: wide * 0.9, height: tall }));
  }
  picture.append(svg("line", { class: "even", x1: 0, x2: count, y1: 24 - (22 * even) / top, y2: 24 - (22 * even) / top }),
    svg("line", { class: "now", x1: place(index) + 0.5, x2: place(index) + 0.5, y1: 0, y2: 24 }));
  picture.addEventListener("pointerdown", (event) => {
    const box = picture.getBoundingClientRect(), n = Math.min(count - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * count)));
    go(cut, place(n));
  });
  root.querySelector("svg").replaceWith(picture);
  const across = cut === "axial" ? "slices" : `${cut} slices`;
  root.querySelector("output").replaceChildren(h("span", {}, `weight of ${across}`), `${heaviest.weight.toFixed(2)}, ${Number((heaviest.weight / even).toPrecision(2))} × even`);
}
