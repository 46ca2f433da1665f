// A volume in hanging order (slices to the head, rows to the back, columns to the left) and its three planes, which are
// strides of one array: nothing is resampled, so the patient's left is at the right hand by construction.

import { pixels } from "./server.js";

const SLAB = 8, AT_ONCE = 3;

export const PLANES = {
  axial: { edges: ["R", "L", "A", "P"], cut: 0 },
  coronal: { edges: ["R", "L", "H", "F"], cut: 1 },
  sagittal: { edges: ["A", "P", "H", "F"], cut: 2 },
};

export class Volume {
  /** @param document what the server tells of the series. */
  constructor(key, number, document) {
    Object.assign(this, { key, number, document });
    this.size = [document.count, document.rows, document.columns];
    this.values = new Int16Array(document.count * document.rows * document.columns).fill(document.lo);
    this.here = new Uint8Array(document.count);
    this.at = this.size.map((n) => Math.floor(n / 2)); // crosshair: slice, row, column
    this.arrived = 0;
    this.wrong = ""; // why not all of it came
  }

  /** All values at once, as text. */
  take(text) {
    const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    this.values = new Int16Array(raw.buffer);
    this.arrived = this.size[0];
    this.streaming = true;
  }

  /** Put a slice that is known already at the crosshair. */
  lay({ size, values, document: { slope, intercept } }) {
    const alike = size[0] === 1 && slope === this.document.slope && intercept === this.document.intercept;
    if (alike) this.values.set(values, this.at[0] * size[1] * size[2]);
  }

  /** Fetch slabs that are not here, from the crosshair outwards; `seen` is called after each, last of a failure. */
  async stream(seen) {
    if (this.streaming) return;
    this.streaming = true;
    this.wrong = "";
    const [count, rows, columns] = this.size, slabs = [], centre = 2 * this.at[0] + 1;
    for (let first = 0; first < count; first += SLAB) {
      if (!this.here[first]) slabs.push([first, Math.min(count, first + SLAB)]);
    }
    slabs.sort((a, b) => Math.abs(a[0] + a[1] - centre) - Math.abs(b[0] + b[1] - centre));
    const fetchNext = async () => {
      for (let slab = slabs.shift(); slab && !this.gone; slab = slabs.shift()) {
        const [first, last] = slab;
        this.values.set(await pixels(this.key, this.number, first, last, true), first * rows * columns);
        this.here.fill(1, first, last);
        this.arrived += last - first;
        seen();
      }
    };
    const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, fetchNext));
    const failed = ended.find((each) => each.status === "rejected");
    if (!failed || this.gone) return;
    this.wrong = failed.reason.message;
    this.streaming = false;
    seen();
  }

  /** Cosine of the angle between two axes, 0 columns, 1 rows, 2 slices: not 0 where the gantry was tilted. */
  #skew(a, b) {
    const [one, other] = [a, b].map((axis) => this.document.affine.slice(0, 3).map((row) => row[axis]));
    return one.reduce((sum, value, n) => sum + value * other[n], 0) / (Math.hypot(...one) * Math.hypot(...other));
  }

  /** One plane through the crosshair: rows, columns, values, mm between rows and columns, cosine of their axes. */
  plane(name) {
    const [count, rows, columns] = this.size, [k, j, i] = this.at, v = this.values, area = rows * columns;
    const [dz, dy, dx] = this.document.spacing;
    if (name === "axial") {
      return { rows, columns, values: v.subarray(k * area, (k + 1) * area), spacing: [dy, dx], skew: this.#skew(0, 1) };
    }
    const wide = name === "coronal" ? columns : rows, out = new Int16Array(count * wide);
    for (let row = 0; row < count; row++) { // the head is up
      const z = (count - 1 - row) * area;
      if (name === "coronal") out.set(v.subarray(z + j * columns, z + (j + 1) * columns), row * wide);
      else for (let y = 0; y < rows; y++) out[row * wide + y] = v[z + y * columns + i];
    }
    const [across, mm] = name === "coronal" ? [0, dx] : [1, dy], skew = -this.#skew(across, 2); // rows run to the feet
    return { rows: count, columns: wide, values: out, spacing: [dz, mm], skew };
  }

  /** Index along the axis that a plane cuts, counted from 0. */
  index(name) { return this.at[PLANES[name].cut]; }
  many(name) { return this.size[PLANES[name].cut]; }
  go(name, index) { this.at[PLANES[name].cut] = Math.min(this.many(name) - 1, Math.max(0, index)); }

  /** Put the crosshair where a plane was clicked, in its columns and rows. */
  cross(name, x, y) {
    const [count, rows, columns] = this.size, inside = (n, v) => Math.min(n - 1, Math.max(0, Math.floor(v)));
    if (name === "axial") { this.at[1] = inside(rows, y); this.at[2] = inside(columns, x); return; }
    this.at[0] = count - 1 - inside(count, y);
    if (name === "coronal") this.at[2] = inside(columns, x); else this.at[1] = inside(rows, x);
  }

  /** The crosshair in a plane's columns and rows. */
  crossAt(name) {
    const [k, j, i] = this.at, z = this.size[0] - 1 - k;
    return name === "axial" ? [i, j] : name === "coronal" ? [i, z] : [j, z];
  }
}

/** Indices (slice, row, column) of places in RAS mm. */
export function indicesOf([[a, b, c, x], [d, e, f, y], [g, k, l, z]], places) {
  const matrix = new DOMMatrix([a, d, g, 0, b, e, k, 0, c, f, l, 0, x, y, z, 1]).inverse(); // column by column
  return places.map((place) => { const p = matrix.transformPoint(new DOMPoint(...place)); return [p.z, p.y, p.x]; });
}

/** Where in a volume a slice lies that was looked at before it: its crosshair; null where it is none of the volume's. */
export function sliceOf(series, { document, at, size }) {
  const [k, j, i] = at, world = document.affine.slice(0, 3).map((row) => row[0] * i + row[1] * j + row[2] * k + row[3]);
  const there = indicesOf(series.affine, [world])[0].map(Math.round), whole = [series.count, series.rows, series.columns], cut = size.indexOf(1);
  const fits = there.every((n, m) => n >= 0 && n < whole[m] && (m === cut || (n === at[m] && size[m] === whole[m])));
  return fits ? there : null;
}
