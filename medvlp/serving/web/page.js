// The page: studies, hanging, tools and keys. What the model says is in says.js, what is painted in viewer.js.

import { dropped, middleOf } from "./drop.js";
import { ICONS } from "./icons.js";
import { KEYS, listen, nameOf } from "./keys.js";
import { PLANES, sliceOf, Volume } from "./mpr.js";
import { Says } from "./says.js";
import { coloursOf, frameOf, listSeries, nameOfSeries, paintOf, rateOf, tellFacts } from "./series.js";
import { call, forget, getJson, openArchived, openFiles, openLook, openSample, stayAlive } from "./server.js";
import { drawStrip, strip } from "./strip.js";
import { Pane, h, short, svg } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const room = { told: null, study: null, whole: null, turn: 0, stage: 0, panes: [], current: 0, three: true, plane: "axial", cine: 0, tool: "window", weights: null };
const BAR = [["tool-window", "tool-zoom", "tool-pan", "tool-scroll", "tool-ruler"], ["windows"],
  ["invert", "rotate-right", "flip-across"], ["fit", "one-to-one", "reset"], ["cine", "planes"]];
const hollow = $("hollow");
const says = new Says({ pane: () => room.panes[room.current], panes: () => room.panes, act: (action) => act(action), weighed });

// opening ----------------------------------------------------------------------------------------------------------

async function open(what, loading, file = null) {
  const say = $("drop-say"), turn = ++room.turn;
  say.className = "say";
  say.textContent = loading;
  document.body.dataset.state = "opening";
  try {
    const seen = file && (await openLook(file).catch(() => null));
    if (turn !== room.turn) return;
    if (seen) look(seen, loading);
    const study = await what();
    if (turn !== room.turn) { forget(study.key).catch(() => {}); return; } // another was opened meanwhile
    const looked = seen && { volume: room.study.volumes.get(0), window: room.panes[0].window };
    if (room.whole) { room.whole.volumes.forEach((volume) => { volume.gone = true; }); forget(room.whole.key).catch(() => {}); }
    room.study = room.whole = { ...study, volumes: new Map(), frames: new Map(), rulers: {} };
    room.stage = 0;
    say.textContent = study.refused.map(({ files, sentence }) => `Left out${files > 1 ? ` (${files} files)` : ""}: ${sentence}.`).join("\n");
    listSeries(room.study, hangOne);
    if (looked) goOn(looked); else hang();
    // Keys are for the picture now: on the button that opened it Space would open it again.
    if (document.activeElement instanceof HTMLButtonElement) room.panes[room.current]?.root.focus({ preventScroll: true });
    document.body.dataset.state = "open";
  } catch (error) {
    if (turn !== room.turn) return;
    if (room.study !== room.whole) takeBack();
    refuse(error.message);
  } finally {
    room.count(); // of the files kept: it may have been taken while this one was read
  }
}

/** Show one slice of a series that is still on its way; what the series alone knows is not there yet. */
function look(series, loading) {
  const volume = new Volume("", 0, series);
  volume.take(series.values);
  room.study = { key: "", series: [{ ...series, loading }], stages: [[0]], refused: [], report: "", volumes: new Map([[0, volume]]), frames: new Map(), rulers: {} };
  room.stage = 0;
  $("series").hidden = true;
  hang();
}

/** The series is here: hang the volume that holds the slice which was looked at, at that slice, in the same window. */
function goOn({ volume: seen, window }) {
  const found = room.study.series.map((series, number) => [number, series.kind === "volume" ? sliceOf(series, seen) : null]).find(([, at]) => at !== null);
  if (!found) { hang(); return; }
  const [number, at] = found, volume = new Volume(room.study.key, number, room.study.series[number]);
  volume.at = at;
  volume.lay(seen);
  room.study.volumes.set(number, volume);
  room.stage = room.study.stages.findIndex((stage) => stage.length === 1 && stage[0] === number);
  hang();
  setWindow(windowsOf(room.panes[0]).find(({ name }) => name === window.name) ?? window); // of all slices, unless it was dragged
}

/** What was looked at turned out to be refused: back to what hung before. */
function takeBack() {
  room.study = room.whole;
  if (room.study) { room.stage = 0; listSeries(room.study, hangOne); hang(); return; }
  room.panes = [];
  $("panes").dataset.layout = "empty";
  $("panes").replaceChildren(hollow);
  for (const id of ["facts", "under", "series"]) $(id).hidden = true;
  says.about(null);
  tell();
}

/** Say why nothing was opened, and that the study which hangs is not it. */
function refuse(sentence) {
  Object.assign($("drop-say"), { className: "say bad", textContent: room.whole ? `${sentence} The study opened before still hangs.` : sentence });
  document.body.dataset.state = "refused";
}

function openList(list) {
  const files = [...list], size = files.reduce((sum, file) => sum + file.size, 0), large = size > room.told.upload;
  const wrong = !files.length ? "No file was in it." : room.told.closed || (large && `That is ${Math.round(size / 2 ** 20)} MB, more than ${room.told.upload / 2 ** 20} MB: send a part of it.`);
  if (wrong) { refuse(wrong); return; }
  open(() => openFiles(files), `Reading ${files.length > 1 ? `${files.length} files` : "the file"}, ${Math.max(1, Math.round(size / 2 ** 20))} MB ...`, middleOf(files));
}

/** Ask the archive that the server was started with; a study is opened by its place in this very list. */
async function search() {
  const list = $("archive").querySelector("ul"), note = h("li", { className: "fine" }, "asking ...");
  list.replaceChildren(note);
  try {
    const { list: key, studies, more } = await call("archive", $("patient").value.trim(), $("day").value.replaceAll("-", "").trim());
    if (!note.isConnected) return; // another search was begun: a row bears no name by which this patient's could be told
    list.replaceChildren(...studies.map((each, n) => h("li", {}, h("button", { type: "button", onclick: () => open(() => openArchived(key, n), "Fetching the study ...") },
      `${each.StudyDate.replace(/(....)(..)(..)/, "$1-$2-$3")}  ${each.ModalitiesInStudy.replaceAll("\\", " ")}  ${each.NumberOfStudyRelatedInstances}`))),
    studies.length ? "" : h("li", { className: "fine" }, "The archive has no such study."),
    more ? h("li", { className: "fine" }, `These are the first ${studies.length}: a patient ID with a day shows others.`) : "");
  } catch (error) { if (note.isConnected) list.replaceChildren(h("li", { className: "say bad" }, error.message)); }
}

// hanging ----------------------------------------------------------------------------------------------------------

function hang() { hangThese(room.study.stages[room.stage]); }
function hangOne(number) {
  room.stage = room.study.stages.findIndex((stage) => stage.length === 1 && stage[0] === number);
  hang();
}

function hangThese(numbers) {
  room.panes = []; stop(); // panes of another study: nothing is asked of this one by their planes
  const series = room.study.series[numbers[0]];
  const views = series.kind !== "volume" ? numbers.map((number) => ({ number }))
    : (series.look ? [series.look] : room.three ? Object.keys(PLANES) : [room.plane]).map((cut) => ({ number: numbers[0], cut }));
  const panes = $("panes");
  panes.dataset.layout = { 1: "one", 2: "two", 3: "three" }[views.length];
  const fitted = (pane) => Math.min(pane.whole, ...alike(pane).map(([other, scale]) => other.whole / scale));
  room.panes = views.map((view) => Object.assign(new Pane({ chosen, scrolled: (pane, by) => step(pane, by), cross: crossed, moved: linked, fitted, changed }), view, { tool: room.tool }));
  panes.replaceChildren(...room.panes.map((pane) => pane.root));
  for (const pane of room.panes) {
    const of = room.study.series[pane.number];
    if (of.kind === "volume") { const [name, centre, width, kind] = of.windows[0]; pane.window = { name, centre, width, kind }; }
    pane.index = 0;
    refresh(pane, true);
  }
  room.current = -1;
  chosen(room.panes[0]);
  $("panes").parentElement.scrollIntoView({ block: "nearest" }); // on a phone what was clicked lies below
}

/** Show a pane what it looks at; what failed to come is asked for again, unless this is how the pane hears of it. */
async function refresh(pane, first = false, again = true) {
  const series = room.study.series[pane.number], { study } = room;
  const of = series.frames?.[pane.index] ?? series; // each frame has its own letters: of two scouts one is frontal
  const shared = { title: nameOfSeries(series), marker: of.marker, unit: of.unit, spacing_kind: of.spacing_kind, own: "", rulers: study.rulers, source: `${study.key}/${pane.number}/${pane.cut ?? ""}` };
  if (series.kind === "volume") {
    let volume = study.volumes.get(pane.number);
    if (!volume) study.volumes.set(pane.number, (volume = new Volume(study.key, pane.number, series)));
    if (again) volume.stream(() => room.panes.filter((each) => each.number === pane.number).forEach((each) => refresh(each, false, false)));
    const plane = volume.plane(pane.cut), index = volume.index(pane.cut);
    const share = volume.arrived / volume.size[0], coming = share < 1 ? `loading ${Math.round(100 * share)} %` : "";
    const loading = series.look ? series.loading : volume.wrong || coming;
    pane.show({ ...shared, ...plane, title: `${shared.title}\n${pane.cut}`, paint: paintOf(series), edges: PLANES[pane.cut].edges, count: volume.many(pane.cut),
      index, cross: room.panes.length > 1 ? volume.crossAt(pane.cut) : null, loading, keep: first });
  } else {
    const paint = series.frames[pane.index];
    const plane = { ...shared, rows: series.rows, columns: series.columns, values: null, spacing: paint.spacing, paint, edges: paint.edges, count: series.count,
      index: pane.index, own: series.facts.format ? "as stored" : "file's own display" };
    if (first) pane.show({ ...plane, loading: "loading ..." }); // till then black is no picture
    const came = await Promise.all([frameOf(study, pane.number, pane.index), coloursOf(study, pane.number, pane.index)])
      .then(([values, colours]) => ({ values, colours }), (error) => ({ loading: error.message }));
    if (paint === series.frames[pane.index]) pane.show({ ...plane, ...came });
  }
  if (room.panes[room.current] === pane) under(pane);
}

function chosen(pane) {
  const at = room.panes.indexOf(pane);
  if (at < 0 || at === room.current) return;
  const number = room.panes[room.current]?.number;
  room.current = at;
  // Tab goes from the pane that is asked about to what is said of it; arrows go to the others.
  room.panes.forEach((each, n) => { each.root.setAttribute("aria-current", n === at); each.root.tabIndex = n === at ? 0 : -1; });
  under(pane);
  listWindows();
  tell();
  tellFacts(room.study.series[pane.number], pane.index);
  $("series").querySelectorAll("button").forEach((button, n) => button.setAttribute("aria-current", n === pane.number));
  if (number !== pane.number || document.body.dataset.said !== `${room.study.key}/${pane.number}`) {
    document.body.dataset.said = `${room.study.key}/${pane.number}`;
    says.about(room.study, pane.number);
  }
}

function many(pane) { return room.study.volumes.get(pane.number)?.many(pane.cut) ?? room.study.series[pane.number].count; }
function indexOf(pane) { return room.study.volumes.get(pane.number)?.index(pane.cut) ?? pane.index; }

function go(pane, index) {
  const volume = room.study.volumes.get(pane.number);
  if (volume) {
    volume.go(pane.cut, index);
    room.panes.filter((each) => each.number === pane.number).forEach((each) => refresh(each));
  } else if (index >= 0 && index < many(pane)) {
    if (pane === room.panes[room.current]) tellFacts(room.study.series[pane.number], index);
    pane.index = index; says.leafed(pane); listWindows(); refresh(pane);
  }
}
/** One image on: a volume is leafed from head to feet. */
function step(pane, by) { go(pane, indexOf(pane) + (pane.cut === "axial" ? -by : by)); }
function crossed(pane, x, y) {
  room.study.volumes.get(pane.number).cross(pane.cut, x, y);
  room.panes.forEach((each) => refresh(each));
}
/** Current and prior are looked at alike: a millimetre is as long in both, where the files tell it. */
function linked(pane) {
  for (const [other, scale] of alike(pane)) { Object.assign(other, { fit: pane.fit, zoom: pane.zoom * scale, x: pane.x, y: pane.y }); other.draw(); }
}
/** The other panes of that view, with their zoom for one of the pane. */
function alike(pane) {
  const viewOf = ({ number }) => room.study.series[number].view;
  return room.panes.filter((each) => each !== pane && viewOf(each) && viewOf(each) === viewOf(pane)).map((other) => {
    const [one, two] = [pane, other].map(({ plane }) => plane.spacing?.[1]);
    return [other, one && two ? two / one : pane.plane.columns / other.plane.columns];
  });
}

// around the picture -----------------------------------------------------------------------------------------------

function under(pane) {
  const count = room.study ? many(pane) : 1;
  $("under").hidden = count < 2;
  Object.assign($("slice"), { max: count - 1, value: pane.cut === "axial" ? count - 1 - indexOf(pane) : indexOf(pane) });
  $("slice").ariaValueText = $("slice-say").textContent = `${indexOf(pane) + 1} of ${count}`;
  const volume = room.weights && room.study.volumes.get(pane.number);
  $("weights").hidden = !volume;
  if (volume) drawStrip($("weights"), room.weights, volume.index(room.weights.cut), jump);
}

/** The model's weights of the slices of the volume looked at; none of any other. */
function weighed(told) {
  const pane = room.panes[room.current];
  room.weights = told && pane && strip(told, room.study.series[pane.number]);
  if (pane) under(pane);
}
/** To a slice across any plane of the volume looked at. */
function jump(cut, index) { go({ number: room.panes[room.current].number, cut }, index); }

function windowsOf(pane) {
  const series = room.study.series[pane.number];
  const own = series.kind === "volume" ? series.windows : series.frames[pane.index ?? 0].windows;
  return own.map(([name, centre, width, kind]) => ({ name, centre, width, kind }));
}

function listWindows() {
  const pane = room.panes[room.current], select = $("windows");
  if (!pane) return;
  const volume = room.study.series[pane.number].kind === "volume", listed = windowsOf(pane);
  const options = [...(volume ? [] : [h("option", { value: "file" }, "File's own display")]),
    ...listed.map((w, n) => h("option", { value: n }, `${w.name[0].toUpperCase()}${w.name.slice(1)}  ${short(w.width)} / ${short(w.centre)}`)),
    h("option", { value: "own", disabled: true }, "By hand")];
  select.replaceChildren(...options);
  const at = pane.window ? listed.findIndex((w) => w.name === pane.window.name && w.centre === pane.window.centre) : -1;
  select.value = !pane.window && !volume ? "file" : at >= 0 ? String(at) : "own";
}

/** The planes of a volume share their window; while it is dragged, the list is left alone. */
function changed(pane) {
  if (pane.cut) for (const each of room.panes) if (each !== pane) { each.window = pane.window; each.stale = true; each.draw(); }
  if (!pane.windowing || $("windows").value !== "own") listWindows();
}
function setWindow(window) { room.panes[room.current].setWindow(window); }

function stop() { clearInterval(room.cine); room.cine = 0; tell(); }
function tell() {
  for (const button of $("tools").querySelectorAll("button")) {
    const name = button.dataset.action;
    if (name.startsWith("tool-")) button.setAttribute("aria-pressed", name === `tool-${room.tool}`);
    const pane = room.panes[room.current];
    if (!name.startsWith("tool-")) button.disabled = !pane;
    if (name === "cine") button.disabled = !pane || many(pane) < 2;
    if (name === "planes") button.disabled = !pane || room.study.series[pane.number].kind !== "volume";
    if (name === "cine") button.setAttribute("aria-pressed", Boolean(room.cine));
    if (name === "planes") button.setAttribute("aria-pressed", room.three && !button.disabled);
  }
}

// acting -----------------------------------------------------------------------------------------------------------

/** To the eye: of a picture that lies on its side, left and right are the file's up and down. */
const flip = (one, other) => (pane) => { const way = pane.turns % 2 ? other : one; pane[way] = !pane[way]; pane.draw(); };
const turn = (by) => (pane) => { pane.turns = (pane.turns + by + 4) % 4; pane.draw(); linked(pane); };
const ON_PANE = {
  "zoom-in": (pane) => { pane.setZoom(pane.zoom * 1.25); linked(pane); }, "zoom-out": (pane) => { pane.setZoom(pane.zoom / 1.25); linked(pane); },
  fit: (pane) => { pane.fit = true; pane.draw(); linked(pane); },
  "one-to-one": (pane) => { Object.assign(pane, { x: 0, y: 0 }); pane.setZoom(1); linked(pane); },
  "rotate-right": turn(1), "rotate-left": turn(-1),
  "flip-across": flip("across", "down"), "flip-down": flip("down", "across"),
  invert: (pane) => pane.invert(),
  reset: (pane) => { pane.reset(); linked(pane); if (pane.cut && room.study.series[pane.number].kind === "volume") setWindow(windowsOf(pane)[0]); else listWindows(); },
  previous: (pane) => step(pane, -1), next: (pane) => step(pane, 1),
  first: (pane) => go(pane, pane.cut === "axial" ? many(pane) - 1 : 0), last: (pane) => go(pane, pane.cut === "axial" ? 0 : many(pane) - 1),
  "series-before": (pane) => hangOne(Math.max(0, pane.number - 1)), "series-after": (pane) => hangOne(Math.min(room.study.series.length - 1, pane.number + 1)),
  "pane-before": () => room.panes[(room.current + room.panes.length - 1) % room.panes.length].root.focus(),
  "pane-after": () => room.panes[(room.current + 1) % room.panes.length].root.focus(),
  "stage-before": () => { room.stage = (room.stage + room.study.stages.length - 1) % room.study.stages.length; hang(); },
  "stage-after": () => { room.stage = (room.stage + 1) % room.study.stages.length; hang(); },
  cine: (pane) => {
    if (room.cine) { stop(); return; }
    if (many(pane) < 2) return;
    room.cine = setInterval(() => { const n = many(pane); go(pane, (indexOf(pane) + (pane.cut === "axial" ? n - 1 : 1)) % n); }, 1000 / rateOf(room.study.series[pane.number]));
    tell();
  },
  heaviest: () => { if (room.weights) jump(room.weights.cut, room.weights.heaviest.at); },
  planes: (pane) => {
    const series = room.study.series[pane.number];
    if (series.kind !== "volume" || series.look) return;
    room.plane = pane.cut;
    room.three = !room.three;
    hang();
    setWindow(pane.window);
  },
  delete: (pane) => pane.unmeasure(),
  made: () => { $("made").open = !$("made").open; $("made").querySelector("summary").focus(); },
};
const ANYWHERE = {
  help: () => ($("keys").open ? $("keys").close() : $("keys").showModal()),
  cancel: () => { stop(); $("keys").close(); if (document.activeElement !== document.body) (room.panes[room.current]?.root ?? document.activeElement).focus?.(); },
  ask: () => $("sentence").focus(), report: () => $("text").focus(), panel: () => document.body.classList.toggle("unsaid"),
  map: () => says.toggleMap(), evidence: () => says.evidence(), "finding-after": () => says.nextFinding(),
};

function act(action) {
  if (["ask", "report", "evidence", "finding-after"].includes(action)) document.body.classList.remove("unsaid"); // what is hidden takes no focus
  if (action.startsWith("tool-")) {
    room.tool = action.slice(5);
    room.panes.forEach((pane) => { pane.tool = room.tool; pane.draw(); });
    tell();
  } else if (ANYWHERE[action]) ANYWHERE[action]();
  else if (room.panes[room.current]) {
    const pane = room.panes[room.current];
    if (action.startsWith("preset-")) { const window = windowsOf(pane)[Number(action.slice(7)) - 1]; if (window) setWindow(window); } else ON_PANE[action]?.(pane);
  }
}

function buildTools() {
  const icon = (d) => { const out = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }); out.append(svg("path", { d })); return out; };
  const parts = BAR.flatMap((group, n) => [n ? h("span", { className: "gap" }) : null, ...group.map((name) => {
    if (name === "windows") return h("select", { id: "windows", ariaLabel: "Window" }, h("option", {}, "Window"));
    const [key, , words] = KEYS.find((each) => each[1] === name);
    const button = h("button", { type: "button", title: `${words} (${nameOf(key)})`, ariaLabel: words, onclick: () => act(name) }, icon(ICONS[name]));
    button.dataset.action = name;
    return button;
  })]);
  $("tools").append(...parts.filter(Boolean));
  $("windows").addEventListener("change", (event) => setWindow(event.target.value === "file" ? null : windowsOf(room.panes[room.current])[Number(event.target.value)]));
  $("keys").querySelector("tbody").replaceChildren(...KEYS.map(([key, action, words]) => {
    const row = h("tr", {}, h("td", {}, h("kbd", {}, nameOf(key))), h("td", {}, words));
    Object.assign(row.dataset, { key, action });
    return row;
  }));
  tell();
}

/** Requests to anybody else, counted by the browser itself; and what the content policy had to stop. */
function countOutside() {
  let outside = 0;
  const show = () => { $("outside").textContent = outside; };
  new PerformanceObserver((list) => {
    outside += list.getEntries().filter((entry) => !entry.name.startsWith(location.origin) && !entry.name.startsWith("blob:")).length;
    show();
  }).observe({ type: "resource", buffered: true });
  document.addEventListener("securitypolicyviolation", () => { outside += 1; show(); });
}

async function start() {
  countOutside();
  buildTools();
  room.told = await getJson("/rr/room.json");
  $("banner").textContent = room.told.banner;
  $("samples").hidden = !room.told.samples.length;
  $("samples").querySelector("ul").replaceChildren(...room.told.samples.map(({ title }, number) =>
    h("li", {}, h("button", { type: "button", onclick: () => open(() => openSample(number), "Making the synthetic study ...") }, title))));
  says.models(room.told);
  $("archive").hidden = !room.told.archive;
  if (room.told.closed) { // a public room, on somebody's server
    $("drop").querySelectorAll("p:not(.say)").forEach((each) => { each.hidden = true; });
    $("drop-say").textContent = room.told.closed;
    $("kept").firstChild.data = "Requests to other hosts ";
  }
  $("archive").querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  for (const id of ["files", "folder"]) $(id).addEventListener("change", (event) => { openList(event.target.files); event.target.value = ""; });
  addEventListener("beforeprint", () => { // a canvas is stretched with its pane: on paper panes are as they were painted, smaller as a whole
    const { width, height, gridTemplate } = getComputedStyle($("panes")), zoom = Math.min(1, 680 / parseFloat(width), 600 / parseFloat(height));
    Object.assign($("panes").style, { width, height, gridTemplate, zoom });
  });
  addEventListener("afterprint", () => { $("panes").style.cssText = ""; });
  addEventListener("dragover", (event) => { event.preventDefault(); document.body.dataset.drag = true; });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.dataset.drag = false; });
  addEventListener("drop", async (event) => { event.preventDefault(); document.body.dataset.drag = false; openList(await dropped(event.dataTransfer)); });
  $("slice").addEventListener("input", (event) => { const pane = room.panes[room.current], n = Number(event.target.value); go(pane, pane.cut === "axial" ? many(pane) - 1 - n : n); });
  $("show-keys").addEventListener("click", () => act("help"));
  $("close-keys").addEventListener("click", () => $("keys").close());
  listen(act);
  room.count = stayAlive(15000, ({ files }) => { $("files-kept").textContent = files; });
  document.body.dataset.state = "ready";
}

start().catch((error) => { Object.assign($("drop-say"), { className: "say bad", textContent: error.message }); });
