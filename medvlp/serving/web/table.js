// Values to grey levels: the file's own curve as it came, or a window of PS3.3 C.11.2 computed in double precision.

/** Nearest integer, halves to the even one, as numpy rounds: so that a window equals the server's to the last level. */
export function rint(x) {
  const up = Math.floor(x + 0.5);
  return x + 0.5 === up && up % 2 !== 0 ? up - 1 : up;
}

/** The file's curve: one level for each value from lo to hi. */
export function curveOf(text) {
  const raw = atob(text), levels = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) levels[k] = raw.charCodeAt(k);
  return levels;
}

/** Display value in [0, 1] of a modality value. */
export function windowed(x, centre, width, kind) {
  if (kind === "SIGMOID") return 1 / (1 + Math.exp(Math.min(700, Math.max(-700, (-4 * (x - centre)) / width))));
  if (kind === "LINEAR" && width === 1) return x > centre - 0.5 ? 1 : 0;
  const y = kind === "LINEAR" ? (x - (centre - 0.5)) / (width - 1) + 0.5 : (x - centre) / width + 0.5;
  return y < 0 ? 0 : y > 1 ? 1 : y;
}

/** Levels of all values lo..hi by a window; `paint` has lo, hi, slope, intercept, inverted. */
export function windowTable(paint, centre, width, kind) {
  const levels = new Uint8Array(paint.hi - paint.lo + 1);
  const plain = paint.slope === 1 && paint.intercept === 0;
  for (let v = paint.lo; v <= paint.hi; v++) {
    const y = windowed(plain ? v : v * paint.slope + paint.intercept, centre, width, kind);
    levels[v - paint.lo] = rint(255 * (paint.inverted ? 1 - y : y));
  }
  return levels;
}

/** A window that looks like a curve, of which a picture may hold a part alone: where a drag begins. */
export function likeWindow(paint, levels) {
  let dark = 0, bright = levels.length - 1;
  const rising = levels[levels.length - 1] >= levels[0];
  const at = (k) => (rising ? levels[k] : 255 - levels[k]);
  while (dark < levels.length - 1 && at(dark) < 8) dark++;
  while (bright > dark && at(bright) > 247) bright--;
  const a = (paint.lo + dark) * paint.slope + paint.intercept, per = ((bright - dark) * paint.slope) / Math.max(1, at(bright) - at(dark));
  const whole = Math.abs(paint.slope) < 1 ? 0 : 1; // what LINEAR is wider by
  return { centre: a + (127.5 - at(dark)) * per + whole / 2, width: Math.abs(255 * per) + whole || 1, kind: whole ? "LINEAR" : "LINEAR_EXACT", name: "" };
}

/** Levels to packed pixels (little endian: alpha, blue, green, red), turned over where asked. */
export function packed(levels, turned) {
  const out = new Uint32Array(levels.length);
  for (let k = 0; k < levels.length; k++) {
    const g = turned ? 255 - levels[k] : levels[k];
    out[k] = 0xff000000 | (g << 16) | (g << 8) | g;
  }
  return out;
}

/** Paint values into pixels; padding, and whatever lies outside of the table, is black or its nearest end. */
export function fill(pixels, values, table, lo, padding) {
  const last = table.length - 1, black = 0xff000000;
  if (padding === null || padding === undefined) {
    for (let k = 0; k < values.length; k++) {
      const n = values[k] - lo;
      pixels[k] = table[n < 0 ? 0 : n > last ? last : n];
    }
    return;
  }
  for (let k = 0; k < values.length; k++) {
    const v = values[k], n = v - lo;
    pixels[k] = v === padding ? black : table[n < 0 ? 0 : n > last ? last : n];
  }
}

/** Paint red, green and blue of 8 bits through one table of levels. */
export function fillColours(pixels, colours, levels, turned) {
  const table = levels.map((g) => (turned ? 255 - g : g));
  for (let k = 0, n = 0; k < pixels.length; k++, n += 3) pixels[k] = 0xff000000 | (table[colours[n + 2]] << 16) | (table[colours[n + 1]] << 8) | table[colours[n]];
}

/** Means of blocks of `by` x `by` values within the box [left, top, right, bottom]; padding counts where there is nothing else. */
export function reduced(values, columns, [left, top, right, bottom], by, padding) {
  const wide = Math.ceil((right - left) / by), tall = Math.ceil((bottom - top) / by), out = new values.constructor(wide * tall);
  const sums = new Float64Array(wide), counts = new Uint32Array(wide), none = padding ?? NaN;
  for (let row = 0; row < tall; row++) {
    sums.fill(0);
    counts.fill(0);
    for (let y = top + row * by, end = Math.min(bottom, y + by); y < end; y++) {
      for (let block = 0, x = left, k = y * columns + left; block < wide; block++) {
        for (const stop = Math.min(right, left + (block + 1) * by); x < stop; x++, k++) {
          const v = values[k];
          if (v !== none) { sums[block] += v; counts[block] += 1; }
        }
      }
    }
    for (let block = 0; block < wide; block++) out[row * wide + block] = counts[block] ? Math.round(sums[block] / counts[block]) : padding;
  }
  return { values: out, wide, tall };
}

// Violet to yellow by lightness and hue, told apart by every kind of colour vision; alpha grows with the value.
const RAMP = [[76, 2, 161], [139, 10, 165], [190, 55, 134], [224, 100, 97], [247, 149, 64], [251, 207, 54], [240, 249, 33]];

/** Colour of a share in [0, 1]. */
export function heat(share) {
  const at = Math.min(0.9999, Math.max(0, share)) * (RAMP.length - 1), k = Math.floor(at), t = at - k;
  return RAMP[k].map((c, n) => Math.round(c + t * (RAMP[k + 1][n] - c)));
}
