// One pane: a picture of 16-bit values on a 2D canvas, painted through a table; letters, scale, measures and crosshair
// lie above it and never in it.

import { curveOf, fill, fillColours, heat, likeWindow, packed, reduced, windowTable } from "./table.js";

const SVG = "http://www.w3.org/2000/svg";
const TINT = 0x665aa6f2; // of masks: the orange of boxes, two fifths of it

/** An element with attributes and children; text is text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list" && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** The same of a drawing. */
export function svg(tag, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

export class Pane {
  /** @param on {moved, scrolled, chosen, cross, changed}: what the page is told; {fitted}: what it asks. */
  constructor(on) {
    this.on = on;
    this.canvas = h("canvas", { ariaHidden: "true" });
    this.over = svg("svg", { "aria-hidden": "true", class: "over" });
    this.corners = Object.fromEntries(["tl", "tr", "bl", "br"].map((c) => [c, h("div", { className: `corner ${c}` })]));
    this.letters = ["left", "right", "top", "bottom"].map((side) => h("span", { className: `letter at-${side}` }));
    this.root = h("div", { className: "pane", tabIndex: 0, role: "group" }, this.canvas, this.over,
      ...Object.values(this.corners), ...this.letters);
    this.context = this.canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    this.bitmap = document.createElement("canvas");
    this.rough = document.createElement("canvas");
    this.tool = "window";
    this.rulers = [];
    this.boxes = [];
    this.map = null;
    this.reset(false);
    new ResizeObserver(() => this.draw()).observe(this.root);
    this.#listen();
  }

  /** Show a plane: {rows, columns, values, spacing, skew, paint, edges, title, count, index, unit, ...}. */
  show(plane) {
    const other = !this.plane || this.plane.rows !== plane.rows || this.plane.columns !== plane.columns;
    if (plane.source !== this.plane?.source) { this.rulers = plane.rulers[plane.source] ??= []; this.map = null; this.boxes = []; if (!plane.keep) this.reset(false); }
    this.plane = plane;
    if (other) { this.bitmap.width = plane.columns; this.bitmap.height = plane.rows; this.image = null; }
    this.stale = true;
    this.root.setAttribute("aria-label", plane.title);
    this.draw();
  }

  reset(draw = true) {
    Object.assign(this, { fit: true, zoom: 1, x: 0, y: 0, turns: 0, across: false, down: false, turned: false, window: null });
    this.stale = true;
    if (draw) this.draw();
  }

  /** The window in force; null while the file's own curve is. */
  setWindow(window) { this.window = window; this.stale = true; this.draw(); this.on.changed?.(this); }
  /** Take the last measure that is seen away: those of other slices and frames stay. */
  unmeasure() { const at = this.rulers.findLastIndex((each) => each.index === this.plane.index); if (at >= 0) this.rulers.splice(at, 1); this.draw(); }
  /** Lay boxes over it: [{box: x0, y0, x1, y1 in its pixels, name}], or masks: [{shape, runs of its pixels, name}]. */
  setBoxes(boxes) { this.boxes = boxes.map((each) => (each.runs ? { picture: tinted(each) } : each)); this.draw(); }
  invert() { this.turned = !this.turned; this.stale = true; this.draw(); }

  /** The level table of what is painted, before `invert`. */
  levels() {
    const { paint } = this.plane;
    if (this.window) return windowTable(paint, this.window.centre, this.window.width, this.window.kind);
    return (paint.levels ??= curveOf(paint.curve));
  }

  /** The same of the 256 steps of each colour, which have no curve of their own. */
  #colourLevels() {
    const { centre, width, kind } = this.window ?? {};
    return this.window ? windowTable({ lo: 0, hi: 255, slope: 1, intercept: 0, inverted: false }, centre, width, kind) : Uint8Array.from({ length: 256 }, (_, k) => k);
  }

  // geometry: source (column, row) -> device pixels ----------------------------------------------------------------

  get aspect() { const s = this.plane.spacing; return s ? s[0] / s[1] : 1; }

  /** The zoom at which all of the picture is seen. */
  get whole() {
    const { rows, columns } = this.plane, ratio = devicePixelRatio || 1, sides = [columns, rows * this.aspect], sideways = this.turns % 2;
    return Math.min(Math.round(this.root.clientWidth * ratio) / sides[sideways], Math.round(this.root.clientHeight * ratio) / sides[1 - sideways]);
  }

  #matrix() {
    const { rows, columns } = this.plane, { width, height } = this.canvas;
    if (this.fit) Object.assign(this, { zoom: this.on.fitted?.(this) ?? this.whole, x: 0, y: 0 });
    const m = new DOMMatrix().translateSelf(width / 2 + this.x, height / 2 + this.y).rotateSelf(90 * this.turns)
      .scaleSelf(this.across ? -1 : 1, this.down ? -1 : 1).scaleSelf(this.zoom, this.zoom * this.aspect)
      .translateSelf(-columns / 2, -rows / 2);
    for (const key of ["a", "b", "c", "d"]) if (Math.abs(m[key]) < 1e-9) m[key] = 0; // of sin and cos
    m.e = Math.round(m.e); // whole pixels, so that 1:1 is exact
    m.f = Math.round(m.f);
    return m;
  }

  /** Where a mouse event is, in columns and rows of the source. */
  at(event) {
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    const p = this.matrix.inverse().transformPoint(new DOMPoint((event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio));
    return [p.x, p.y];
  }

  setZoom(zoom, about = null) {
    const { width, height } = this.canvas, [cx, cy] = about ?? [width / 2, height / 2];
    zoom = Math.min(40, Math.max(0.02, zoom));
    this.x = cx - width / 2 - ((cx - width / 2 - this.x) * zoom) / this.zoom;
    this.y = cy - height / 2 - ((cy - height / 2 - this.y) * zoom) / this.zoom;
    this.zoom = zoom;
    this.fit = false;
    this.draw();
  }

  // painting ------------------------------------------------------------------------------------------------------

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.#paint(); });
  }

  #paint() {
    if (!this.plane || !this.root.isConnected) return;
    const ratio = devicePixelRatio || 1, { clientWidth: w, clientHeight: t } = this.root;
    if (!w || !t) return;
    if (this.canvas.width !== Math.round(w * ratio) || this.canvas.height !== Math.round(t * ratio)) {
      this.canvas.width = Math.round(w * ratio);
      this.canvas.height = Math.round(t * ratio);
    }
    const { paint, values, rows, columns } = this.plane;
    const coarse = values && !this.plane.colours && this.windowing && this.matrix ? this.#coarse() : null;
    if (this.stale && values && !coarse) {
      const pen = this.bitmap.getContext("2d", { willReadFrequently: true });
      this.image ??= pen.createImageData(columns, rows);
      const out = new Uint32Array(this.image.data.buffer);
      if (this.plane.colours) fillColours(out, this.plane.colours, this.#colourLevels(), this.turned);
      else fill(out, values, packed(this.levels(), this.turned), paint.lo, paint.padding);
      pen.putImageData(this.image, 0, 0);
      this.stale = false;
    }
    const m = (this.matrix = this.#matrix()), pen = this.context;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(m);
    pen.imageSmoothingEnabled = !(this.zoom === 1 && this.aspect === 1);
    pen.imageSmoothingQuality = this.zoom < 1 ? "medium" : "low";
    if (coarse) pen.drawImage(this.rough, ...coarse);
    else if (values) pen.drawImage(this.bitmap, 0, 0);
    for (const { picture } of this.boxes) if (picture) pen.drawImage(picture, 0, 0);
    if (this.map?.shown) {
      const [x0, y0, x1, y1] = this.map.box;
      pen.imageSmoothingEnabled = true;
      pen.drawImage(this.map.picture, x0, y0, x1 - x0, y1 - y0);
    }
    this.#say(ratio);
    this.root.dataset.drawn = coarse ? "coarse" : "exact";
    this.root.dataset.state = values ? "painted" : "waiting";
    Object.assign(this.root.dataset, { zoom: this.zoom.toFixed(4), turned: this.turned, turns: this.turns, across: this.across,
      down: this.down, count: this.plane.count, loading: this.plane.loading ?? "", index: this.plane.index ?? 0, tool: this.tool, rulers: this.rulers.length, map: Boolean(this.map?.shown), boxes: this.boxes.length,
      window: this.window ? `${this.window.centre}/${this.window.width}` : "file" });
  }

  /** While a window is dragged: what is in sight, by means of blocks that are no larger than a pixel of the screen. */
  #coarse() {
    const { plane, canvas } = this, { values, paint, rows, columns } = plane, by = Math.max(1, Math.floor(1 / this.zoom));
    if (this.coarse?.of !== values) {
      const back = this.matrix.inverse(), ends = [[0, 0], [canvas.width, 0], [0, canvas.height], [canvas.width, canvas.height]]
        .map(([x, y]) => back.transformPoint(new DOMPoint(x, y)));
      const within = (key, last) => { const at = ends.map((p) => p[key]); return [Math.max(0, Math.floor(Math.min(...at))), Math.min(last, Math.ceil(Math.max(...at)))]; };
      const [left, right] = within("x", columns), [top, bottom] = within("y", rows);
      if (left >= right || top >= bottom) return null;
      const made = reduced(values, columns, [left, top, right, bottom], by, paint.padding);
      Object.assign(this.rough, { width: made.wide, height: made.tall });
      const image = this.rough.getContext("2d", { willReadFrequently: true }).createImageData(made.wide, made.tall);
      this.coarse = { of: values, ...made, image, pixels: new Uint32Array(image.data.buffer), place: [left, top, by * made.wide, by * made.tall] };
      this.stale = true;
    }
    const { image, pixels, place } = this.coarse;
    if (this.stale) {
      fill(pixels, this.coarse.values, packed(this.levels(), this.turned), paint.lo, paint.padding);
      this.rough.getContext("2d").putImageData(image, 0, 0);
      this.stale = false;
    }
    return place;
  }

  #say(ratio) {
    const { plane } = this, { tl, tr, bl, br } = this.corners;
    const { clientWidth: width, clientHeight: height } = this.root, narrow = width < 300, small = width < 240; // beside a wider pane that says the rest
    tl.textContent = [small ? plane.title.split("\n").at(-1) : plane.title, plane.count > 1 ? `${plane.index + 1} / ${plane.count}` : "", plane.marker ? `side ${plane.marker}` : "", plane.edges.join("") ? "" : "sides unknown",
      plane.loading ?? ""].filter(Boolean).join("\n");
    const w = this.window;
    tr.textContent = (small || (narrow && !w) ? "" : w ? `W ${short(w.width)}  L ${short(w.centre)}${w.name ? `\n${w.name}` : ""}` : plane.own) + (this.turned ? "\ninverted" : "");
    br.textContent = `${this.#probe()}\n${Math.round(this.zoom * 100)} %`.trim();
    turnedEdges(plane.edges, this).forEach((edge, n) => { this.letters[n].textContent = edge; });
    const parts = [];
    const mm = plane.spacing ? plane.spacing[1] / (this.zoom / ratio) : null; // of a CSS pixel
    bl.textContent = mm ? "" : "not calibrated";
    if (mm) {
      const length = nice(mm * width * 0.25), wide = length / mm, y = height - 14;
      parts.push(svg("path", { class: "scale", d: `M12 ${y - 5}v5h${wide}v-5` }), svg("text", { class: "scale", x: 12, y: y - 9 },
        `${length} mm${plane.spacing_kind === "detector" && !narrow ? " at the detector" : ""}`));
    }
    const onScreen = ([x, y]) => { const p = this.matrix.transformPoint(new DOMPoint(x, y)); return [p.x / ratio, p.y / ratio]; };
    for (const ruler of this.rulers) {
      if (ruler.index !== plane.index) continue;
      const [a, b] = [onScreen(ruler.a), onScreen(ruler.b)], [x, y] = a[0] > b[0] ? a : b, length = this.#length(ruler);
      const place = x + 6 + 7.5 * length.length < width ? { x: x + 6, y: y + 4 } : { x: width - 6, y: y - 8, "text-anchor": "end" }; // not outside
      parts.push(svg("line", { class: "ruler", x1: a[0], y1: a[1], x2: b[0], y2: b[1] }),
        svg("text", { class: "ruler", ...place }, length));
    }
    for (const { box: [x0, y0, x1, y1], name } of this.boxes.filter(({ box }) => box)) {
      const corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]].map(onScreen), [x, y] = [0, 1].map((axis) => Math.min(...corners.map((corner) => corner[axis])));
      parts.push(svg("polygon", { class: "box", points: corners.join(" ") }), svg("text", { class: "box", x: Math.max(4, x + 4), y: Math.max(14, y - 5) }, name));
    }
    if (plane.cross) {
      const [x, y] = onScreen([plane.cross[0] + 0.5, plane.cross[1] + 0.5]), gap = 14;
      parts.push(svg("path", { class: "cross", d: `M0 ${y}H${x - gap}M${x + gap} ${y}H${width}M${x} 0V${y - gap}M${x} ${y + gap}V${height}` }));
    }
    this.over.replaceChildren(...parts);
  }

  /** Of a ruler; the axes of a plane may be askew. */
  #length({ a, b }) {
    const { spacing: s, skew = 0 } = this.plane, [tall, wide] = s ?? [1, 1];
    const dx = (b[0] - a[0]) * wide, dy = (b[1] - a[1]) * tall;
    const d = Math.sqrt(dx * dx + dy * dy + 2 * skew * dx * dy);
    if (!s) return `${Math.round(d)} px`;
    return `${d < 100 ? d.toFixed(1) : Math.round(d)} mm${this.plane.spacing_kind === "detector" ? " at the detector" : ""}`;
  }

  /** Put a map of the model over the picture: bytes of a grid, and the box of the source that it covers. */
  setMap(map, opacity, threshold) {
    this.map = map && { ...map, picture: coloured(map, opacity, threshold) };
    this.draw();
  }

  // mouse, pen and touch ------------------------------------------------------------------------------------------

  #listen() {
    const root = this.root;
    let held = null, pinch = new Map(), rolled = 0, last = -Infinity;
    root.addEventListener("pointerdown", (event) => {
      if (!this.plane) return;
      this.on.chosen?.(this);
      root.focus({ preventScroll: true });
      root.setPointerCapture(event.pointerId);
      pinch.set(event.pointerId, event);
      if (held?.ruler) this.rulers.pop();
      const two = pinch.size > 1, tool = two ? "" /* they zoom, and the one that stays longer does nothing else */ : event.button === 1 ? "pan" : event.button === 2 ? "zoom" : this.tool;
      held = { x: event.clientX, y: event.clientY, tool, moved: two, window: this.window, zoom: this.zoom, px: this.x, py: this.y, steps: 0 };
      if (tool === "ruler" && event.button === 0) {
        const a = this.at(event);
        this.rulers.push((held.ruler = { a, b: a, index: this.plane.index }));
      }
    });
    root.addEventListener("pointermove", (event) => {
      if (!this.plane || !this.matrix) return;
      this.pointer = event;
      this.draw();
      if (!held || !pinch.has(event.pointerId)) return;
      if (pinch.size === 2) {
        const [one, two] = [...pinch.values()], before = Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY);
        pinch.set(event.pointerId, event);
        const [a, b] = [...pinch.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
        if (before > 0) this.setZoom((this.zoom * now) / before);
        this.on.moved?.(this);
        return;
      }
      const dx = event.clientX - held.x, dy = event.clientY - held.y;
      held.moved ||= Math.hypot(dx, dy) > 3;
      if (held.moved) this.#drag(held, dx, dy, event);
    });
    const up = (event) => {
      pinch.delete(event.pointerId);
      if (this.windowing) { // at rest every pixel is the curve's
        Object.assign(this, { windowing: false, coarse: null, stale: true });
        this.on.changed?.(this);
      }
      if (held && !held.moved && event.type === "pointerup") {
        if (held.ruler) this.rulers.pop();
        else if (event.button === 0 && this.plane?.cross) this.on.cross?.(this, ...this.at(event));
      }
      if (!pinch.size) held = null;
      this.draw();
    };
    root.addEventListener("pointerup", up);
    root.addEventListener("pointercancel", up);
    root.addEventListener("pointerleave", () => { this.pointer = null; this.draw(); });
    root.addEventListener("contextmenu", (event) => event.preventDefault());
    root.addEventListener("focus", () => this.on.chosen?.(this));
    root.addEventListener("wheel", (event) => {
      if (!this.plane) return;
      event.preventDefault();
      if (this.plane.count > 1 && !event.ctrlKey) { // a notch is an image, of a touchpad's many small steps those that make one up
        const part = Math.min(1, Math.max(-1, event.deltaMode ? event.deltaY : event.deltaY / 30));
        rolled = event.timeStamp - last > 200 || rolled * part < 0 ? Math.sign(part) : rolled + part;
        last = event.timeStamp;
        if (Math.trunc(rolled)) { this.on.scrolled?.(this, Math.trunc(rolled)); rolled %= 1; }
      } else {
        const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
        this.setZoom(this.zoom * Math.exp(-event.deltaY / 500), [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio]);
        this.on.moved?.(this);
      }
    }, { passive: false });
  }

  #drag(held, dx, dy, event) {
    const { paint } = this.plane, ratio = devicePixelRatio || 1;
    if (held.tool === "window") {
      const from = (held.window ??= likeWindow(paint, this.levels()));
      const step = Math.max(from.width, Math.abs((paint.hi - paint.lo) * paint.slope) / 50) / 300;
      this.windowing = true;
      this.setWindow({ centre: tidy(from.centre + dy * step, step), width: Math.max(from.kind === "LINEAR" ? 1 : step, tidy(from.width + dx * step, step)), kind: from.kind, name: "" });
    } else if (held.tool === "zoom") this.setZoom(held.zoom * Math.exp(-dy / 200));
    else if (held.tool === "pan") { this.fit = false; this.x = held.px + dx * ratio; this.y = held.py + dy * ratio; this.draw(); }
    else if (held.tool === "ruler" && held.ruler) { held.ruler.b = this.at(event); this.draw(); }
    else if (held.tool === "scroll") {
      const steps = Math.trunc(dy / 6);
      if (steps !== held.steps) this.on.scrolled?.(this, steps - held.steps);
      held.steps = steps;
    }
    if (["zoom", "pan"].includes(held.tool)) this.on.moved?.(this);
  }

  /** Place and value under the pointer, of what is painted: it may rest while slices are leafed through. */
  #probe() {
    const { rows, columns, values, paint, unit } = this.plane, [x, y] = this.pointer ? this.at(this.pointer).map(Math.floor) : [-1, -1];
    if (!values || x < 0 || y < 0 || x >= columns || y >= rows) return "";
    const v = values[y * columns + x];
    return `${x}, ${y}  ${v === paint.padding ? "padding" : `${short(v * paint.slope + paint.intercept)} ${unit}`}`.trim();
  }
}

/** Letters at the left, right, upper and lower edge after flips and turns. */
function turnedEdges([left, right, top, bottom], { across, down, turns }) {
  let round = [across ? right : left, down ? bottom : top, across ? left : right, down ? top : bottom]; // clockwise
  for (let k = 0; k < turns; k++) round = [round[3], round[0], round[1], round[2]];
  return [round[0], round[2], round[1], round[3]];
}

function coloured({ rows, columns, bytes }, opacity, threshold) {
  const picture = document.createElement("canvas");
  picture.width = columns;
  picture.height = rows;
  const pen = picture.getContext("2d"), image = pen.createImageData(columns, rows);
  for (let k = 0; k < bytes.length; k++) {
    const share = bytes[k] / 255, [r, g, b] = heat(share);
    image.data.set([r, g, b, share < threshold ? 0 : Math.round(255 * opacity * (0.35 + 0.65 * share))], 4 * k);
  }
  pen.putImageData(image, 0, 0);
  return picture;
}

/** A mask as a picture; its runs are of 0 and 1 in turn, row by row. */
function tinted({ shape: [height, width], runs }) {
  const picture = Object.assign(document.createElement("canvas"), { width, height }), image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  let at = 0;
  runs.forEach((length, n) => { if (n % 2) pixels.fill(TINT, at, at + length); at += length; });
  picture.getContext("2d").putImageData(image, 0, 0);
  return picture;
}

function nice(length) {
  const ten = 10 ** Math.floor(Math.log10(length));
  return Number(([5, 2, 1].find((n) => n * ten <= length) * ten).toPrecision(1));
}

const tidy = (value, step) => (step >= 1 ? Math.round(value) : Number(value.toPrecision(5)));
export const short = (value) => (Math.abs(value) >= 1000 || Number.isInteger(value) ? String(Math.round(value)) : String(Number(value.toPrecision(4))));
