// What the model says: category first, the number in words, its evidence one click away; a map only with its hit rate.

import { call } from "./server.js";
import { saidOf, words } from "./said.js";
import { h, svg } from "./viewer.js";
import { heat } from "./table.js";

const $ = (id) => document.getElementById(id);
const GROUPS = [["present", "●", "Present"], ["indeterminate", "◐", "Indeterminate"], ["absent", "○", "Absent"],
  ["uncalibrated", "?", "Not calibrated: scores that order pictures, no probabilities"], ["not_for_this_picture", "–", "Not for this picture"]];
const UNWRITTEN = "No sentence is written: state a finding under “Ask one sentence”, such as “Left pleural effusion”.";
const number = (value, digits = 2) => (value === null || value === undefined ? "–" : Number(value).toFixed(digits));

export class Says {
  /** @param on {pane, panes, act, weighed}: the pane that is looked at, all of them, a way to act, and who is told the weights of slices. */
  constructor(on) {
    Object.assign(this, { on, told: [], model: 0, opacity: 0.55, threshold: 0.35, maps: new Map(), turn: 0, asked: {} });
    $("model").addEventListener("change", (event) => { this.model = Number(event.target.value); if (this.study) this.about(this.study, this.series); });
    this.#form("ask", () => this.ask($("sentence").value));
    this.#form("question", () => this.question($("asked").value));
    this.#form("report", () => this.report($("text").value));
    $("own-report").addEventListener("click", () => { $("text").value = this.study.report; $("text").focus(); });
    $("export").querySelector(".row").addEventListener("click", (event) => { if (event.target.dataset.kind) this.export(event.target.dataset.kind, event.target.dataset.send === "true"); });
    $("alike").addEventListener("click", () => this.similar(""));
    $("alike-said").addEventListener("click", () => {
      const sentence = $("sentence").value.trim();
      if (sentence) this.similar(sentence); else this.#wrong("similar", new Error(UNWRITTEN));
    });
  }

  #form(id, act) { $(id).querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); act(); }); }
  #body(id) { return $(id).querySelector(".body"); }
  /** Fill a section's answer and bring it into view. */
  #answer(id, ...parts) {
    this.#body(id).replaceChildren(...parts.filter(Boolean));
    $(id).scrollIntoView({ block: "nearest" });
  }
  #wrong(id, error) { this.#answer(id, h("p", { className: "wrong", role: "alert" }, error.message)); }
  /** Say that a section is asked; the function says whether its answer is still waited for: no later one, no other picture. */
  #asks(id, note) {
    const turn = this.turn, asked = this.asked[id] = (this.asked[id] ?? 0) + 1;
    this.#answer(id, h("p", { className: "fine" }, note));
    return () => turn === this.turn && asked === this.asked[id];
  }

  /** Until a study is open there is nothing to ask. */
  #off(off) { for (const id of ["ask", "question", "report", "similar"]) $(id).querySelectorAll("button, input, textarea").forEach((field) => { field.disabled = off; }); }

  models({ models: told, exports, archive }) {
    this.told = told;
    const button = ([kind, title], send) => { const made = h("button", { type: "button" }, title); Object.assign(made.dataset, { kind, send }); return made; };
    const titles = Object.entries({ png: "PNG", sc: "Capture", sr: "SR", seg: "SEG", fhir: "FHIR" }).filter(([kind]) => exports.includes(kind));
    $("export").querySelector(".row").replaceChildren(...titles.map((each) => button(each, false)),
      ...(archive ? [["sr", "Send SR"], ["seg", "Send SEG"], ["sc", "Send capture"]].map((each) => button(each, true)) : []), h("button", { type: "button", onclick: () => print() }, "Print"));
    $("model").replaceChildren(...told.map((each, n) => h("option", { value: n }, `${each.name} · ${each.hash.slice(0, 8)}`)));
    $("model").closest("label").hidden = !told.length;
    this.#off(true);
    if (!told.length) {
      $("findings-say").textContent = "No model is loaded.";
      this.#body("findings").replaceChildren(h("p", { className: "held" }, "The viewer works without one. To add one: medvlp demo BUNDLE, or medvlp quickstart makes one in minutes."));
    }
  }

  /** A picture was chosen: ask for its findings; of none, and of a slice whose series is on its way, nothing is said. */
  async about(study, series) {
    const turn = ++this.turn; // answers that are on their way are of what was looked at before
    Object.assign(this, { study, series, rows: [], chosen: null });
    for (const id of ["findings", "export", "ask", "question", "report", "similar"]) this.#body(id).replaceChildren();
    $("said").replaceChildren();
    for (const pane of this.on.panes()) { pane.setMap(null); pane.setBoxes([]); }
    $("map").hidden = true;
    this.on.weighed(null);
    $("own-report").hidden = !study?.report;
    $("export").hidden = !study?.key || study.series[series].kind === "volume";
    if (!study?.key) {
      this.study = null;
      this.#off(true);
      document.body.dataset.findings = "waiting";
      $("findings-say").textContent = study && this.told.length ? "when all files are read" : "";
      return;
    }
    if (this.patient && this.patient !== study.key) $("text").value = $("asked").value = ""; // a pasted report, a question, is of the study it was meant for
    this.patient = study.key;
    const model = this.told[this.model];
    $("who").textContent = model ? `${model.name} ${model.hash}${model.synthetic ? ", trained on synthetic patients" : ""}` : "";
    $("question").hidden = model?.cannot?.question !== null;
    if (!model) return;
    this.#off(false);
    for (const [id, what] of [["ask", "ask"], ["report", "check_report"], ["similar", "similar"]]) this.#cannot(id, model.cannot?.[what]);
    const say = $("findings-say");
    Object.assign(say, { className: "fine", textContent: "looking ..." });
    document.body.dataset.findings = "asked";
    try {
      const told = await this.#call("findings");
      if (turn !== this.turn) return;
      const counts = GROUPS.map(([category,, title]) => [told.findings.filter((each) => each.category === category).length, title.split(":")[0].toLowerCase()]);
      // Heard alone: what is seen has these counts.
      Object.assign(say, { className: "unseen", textContent: told.refused ? "" : counts.filter(([count]) => count).map((each) => each.join(" ")).join(", ") });
      this.#list(told);
      document.body.dataset.findings = told.refused ? "held" : "told";
      if (!told.refused) this.#weigh(turn);
    } catch (error) {
      if (turn !== this.turn) return;
      say.textContent = "";
      this.#body("findings").replaceChildren(h("p", { className: "held" }, error.message));
      document.body.dataset.findings = "failed";
    }
  }

  /** Of a volume: how much each slice counts, where the bundle says it; asked after its findings. */
  async #weigh(turn) {
    const { study, series } = this;
    if (study.series[series].kind !== "volume" || this.told[this.model].cannot?.slices) return;
    try {
      const told = await this.#call("slices");
      if (turn === this.turn && told.weights.length > 1) this.on.weighed(told);
    } catch { /* held back, as the findings say */ }
  }

  /** What a bundle cannot do stands there in a sentence, and its field is off. */
  #cannot(id, sentence) {
    $(id).querySelectorAll("button, input, textarea").forEach((field) => { field.disabled = Boolean(sentence); });
    if (sentence) this.#body(id).replaceChildren(h("p", { className: "fine" }, sentence));
  }

  #call(name, ...more) { return call(name, this.study.key, this.series, this.model, ...more); }

  #list({ refused, findings, said, warnings }) {
    this.rows = findings;
    const { cannot } = this.told[this.model], check = (text) => { $("text").value = text; this.report(text); };
    $("said").replaceChildren(...saidOf(said, { draw: (boxes) => this.#box(boxes), check: cannot.check_report ? null : check }));
    const { kind, count } = this.study.series[this.series], parts = [];
    if (kind !== "volume" && count > 1) parts.push(h("p", { className: "group" }, "Of the first image."));
    if (refused) parts.push(h("p", { className: "held", role: "alert" }, refused.sentence));
    for (const [category, mark, title] of GROUPS) {
      const group = findings.filter((each) => each.category === category);
      if (!group.length || (refused && category === "not_for_this_picture")) continue;
      parts.push(h("p", { className: "group" }, h("span", {}, title), h("span", {}, group.length)), ...group.map((each) => this.#finding(each, mark)));
    }
    if (!findings.length && !refused) parts.push(h("p", { className: "group" }, cannot.findings));
    if (warnings.length) parts.push(h("ul", { className: "notes group" }, ...warnings.map((note) => h("li", {}, note))));
    this.#body("findings").replaceChildren(...parts);
  }

  #finding(each, mark) {
    const place = [each.side, each.place].filter(Boolean).join(", ");
    const button = each.map ? h("button", { type: "button", title: "Map (o)", ariaLabel: `Map of ${words(each.finding)}`, onclick: (event) => { event.preventDefault(); this.choose(each); this.toggleMap(); } }, "Map") : null;
    const row = h("details", { className: `finding ${each.category}`, onclick: () => this.choose(each) },
      h("summary", {}, h("span", { className: "mark", role: "img", ariaLabel: words(each.category) }, mark), h("span", { className: "name" }, words(each.finding) + (place ? ` · ${place}` : "")), button,
        h("span", { className: "words" }, each.sentence)), this.#proof(each));
    row.dataset.finding = each.finding;
    return row;
  }

  /** What stands behind a number: the bundle's own evaluation, with n and interval. */
  #proof(each) {
    const e = each.evidence, rows = [["score", number(each.score, 3)], ["base rate", number(each.base_rate)]];
    if (e) {
      const point = e.operating_point ? `operating point ${e.operating_point}` : "the threshold";
      const within = (low, high) => (low === null || low === undefined ? "no interval" : `${number(low)} to ${number(high)}`);
      const between = (name) => (e[name] === null || e[name] === undefined ? "not measured" : `${number(e[name])} (${within(e[`${name}_low`], e[`${name}_high`])})`);
      rows.push(["AUROC", e.auroc === null ? "not measured" : `${number(e.auroc)} (${within(e.low, e.high)})`], [`PPV at ${point}`, between("ppv")], [`NPV at ${point}`, between("npv")],
        ["judged on", `${e.n} pictures, ${e.positives} positive`], ["data", [e.data?.split, e.data?.hash?.slice(0, 8), e.data?.synthetic ? "synthetic" : ""].filter(Boolean).join(" · ") || "–"]);
    }
    return h("div", { className: "proof" }, this.#line(each), h("dl", {}, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      e ? "" : h("p", {}, "The bundle holds no evaluation of this finding."));
  }

  /** The probability on a line, with base rate and the zone between the thresholds. */
  #line(each) {
    if (each.probability === null) return "";
    const line = svg("svg", { class: "line", viewBox: "0 0 300 40", role: "img", "aria-label": each.sentence }), at = (p) => 4 + 292 * p;
    const add = (...what) => line.append(svg(...what));
    const low = each.limits?.absent_to ?? null, high = each.limits?.present_from ?? null;
    if (low !== null && high !== null) add("rect", { class: "zone", x: at(low), y: 10, width: Math.max(1, at(high) - at(low)), height: 12 });
    add("line", { class: "axis", x1: at(0), x2: at(1), y1: 16, y2: 16 });
    if (each.base_rate) { add("line", { class: "base", x1: at(each.base_rate), x2: at(each.base_rate), y1: 6, y2: 26 }); add("text", { x: at(each.base_rate), y: 37, "text-anchor": each.base_rate < 0.12 ? "start" : "middle" }, "base rate"); }
    add("circle", { class: "value", cx: at(each.probability), cy: 16, r: 4.5 });
    add("text", { x: 300, y: 37, "text-anchor": "end" }, "1");
    return line;
  }

  choose(each) {
    if (this.chosen === each) return;
    this.chosen = each;
    for (const row of $("findings").querySelectorAll(".finding")) row.classList.toggle("chosen", row.dataset.finding === each.finding);
    if (this.on.pane()) this.#hideMap(); // and what is said of one on its way
  }

  nextFinding() {
    if (!this.rows?.length) return;
    const shown = [...$("findings").querySelectorAll(".finding")], at = shown.findIndex((row) => row.classList.contains("chosen"));
    const row = shown[(at + 1) % shown.length];
    if (!row) return;
    this.choose(this.rows.find((each) => each.finding === row.dataset.finding));
    row.querySelector("summary").focus();
  }

  evidence() {
    if (!this.chosen) this.nextFinding();
    const row = $("findings").querySelector(".chosen");
    if (row) row.open = !row.open;
  }

  // map --------------------------------------------------------------------------------------------------------------

  #hideMap() { const pane = this.on.pane(); if (pane.map) { pane.map.shown = false; pane.draw(); } $("map").hidden = true; }

  /** Lay boxes over the picture; false where another image of its series is looked at. */
  #box(boxes) {
    const pane = this.on.panes().find(({ number }) => number === this.series);
    if (!pane || pane.index) return false;
    pane.setBoxes(boxes);
    if (boxes.length) $("panes").scrollIntoView({ block: "nearest" }); // as for a map
    return true;
  }

  /** Another image of a series is looked at: a map, which is of the first, goes with its legend, and boxes go. */
  leafed(pane) {
    if (!pane.index) return;
    if (pane.boxes.length) { pane.setBoxes([]); $("said").querySelectorAll("[aria-pressed=true]").forEach((button) => { button.ariaPressed = "false"; }); }
    if (!pane.map) return;
    pane.setMap(null);
    $("map").hidden = true;
  }

  async toggleMap() {
    const pane = this.on.pane(), each = this.chosen ?? this.rows?.find((row) => row.map);
    if (!pane) return;
    const legend = $("map");
    if (pane.map?.shown) { pane.map.shown = false; pane.draw(); legend.className = "under off"; return; } // its place is kept, so that the picture is where it was
    if (!each) return;
    this.choose(each);
    legend.hidden = false; legend.className = "under"; $("panes").scrollIntoView({ block: "nearest" }); // on a phone the picture lies above what was clicked
    const body = this.#body("map");
    if (!each.map) {
      body.replaceChildren(h("p", { className: "fine" }, `No map of ${words(each.finding)}: the bundle has no measured hit rate for it, so where it looked would be a guess.`));
      return;
    }
    body.replaceChildren(h("p", { className: "fine" }, "looking ..."));
    const turn = this.turn, name = `${this.study.key}/${this.series}/${this.model}/${each.finding}`;
    try {
      if (!this.maps.has(name)) this.maps.set(name, await this.#call("where", each.finding, ""));
      if (turn !== this.turn || this.chosen !== each) return;
      if (pane.index) body.replaceChildren(h("p", { className: "fine" }, `The map of ${words(each.finding)} is of the first image: leaf back to see it.`));
      else this.#showMap(pane, each, this.maps.get(name));
    } catch (error) { if (turn === this.turn && this.chosen === each) this.#wrong("map", error); }
  }

  #showMap(pane, each, told) {
    const raw = atob(told.values), bytes = Uint8Array.from(raw, (c) => c.charCodeAt(0));
    const draw = () => { pane.setMap({ ...told, bytes, shown: true }, this.opacity, this.threshold); };
    const slider = (label, key) => [h("label", {}, `${label} `,
      h("input", { id: `map-${key}`, type: "range", min: 0, max: 100, value: 100 * this[key], oninput: (event) => { this[key] = event.target.value / 100; event.target.nextSibling.textContent = `${event.target.value} %`; draw(); } }),
      h("span", {}, `${Math.round(100 * this[key])} %`))];
    const ramp = h("canvas", { className: "ramp", width: 100, height: 1 }), pen = ramp.getContext("2d");
    for (let k = 0; k < 100; k++) { pen.fillStyle = `rgb(${heat(k / 100).join(" ")})`; pen.fillRect(k, 0, 1, 1); }
    const rate = told.hit_rate ?? each.hit_rate;
    this.#body("map").replaceChildren(
      h("span", { className: "what" }, h("b", {}, words(each.finding)), ` by ${words(told.method)}, ${told.rows} × ${told.columns} cells`),
      h("span", { className: "ends" }, "less", ramp, "more"), ...slider("opacity", "opacity"), ...slider("shown from", "threshold"),
      h("span", { className: "fine" }, rate ? `Its peak lay in the finding in ${Math.round(100 * rate.value)} % of ${rate.n} test pictures with it (${rate.low === null ? "no interval" : `${Math.round(100 * rate.low)} to ${Math.round(100 * rate.high)} %`}), the centre of the picture in ${Math.round(100 * rate.centre)} %.` : "Its hit rate was not measured."));
    draw();
  }

  // sentences, reports, cases ----------------------------------------------------------------------------------------

  /** Ask and show the answer in its section, where it is still waited for. */
  async #tell(id, note, show, ...what) {
    if (!this.study) return;
    const waits = this.#asks(id, note);
    try {
      const told = await this.#call(...what);
      if (waits()) this.#answer(id, ...show(told));
    } catch (error) { if (waits()) this.#wrong(id, error); }
  }

  ask(sentence) {
    return this.#tell("ask", "comparing ...", (told) => {
      const { calibrated, margin, probability, prior, statement, denial } = told, beside = this.told[this.model]?.cannot?.check_report === null; // the margin is then beyond the mean picture's
      const moved = calibrated ? probability - prior : margin, [nearer, farther] = moved > 0 ? [statement, denial] : [denial, statement];
      const [to, from] = calibrated ? ["More than base rates, this picture leans to ", "and away from"] : beside ? ["More than the mean picture, this one leans to ", "and away from"] : ["The picture is nearer to ", "than to"];
      const lines = calibrated && number(probability) === number(prior) ? [h("p", {}, `The picture does not tell “${statement}” from “${denial}”`)] : [h("p", {}, to, h("b", {}, `“${nearer}”`)), h("p", {}, `${from} “${farther}”`)];
      return [h("div", { className: "answer" }, ...lines,
        h("p", { className: "fine" }, calibrated ? `Probability of “${statement}” ${number(probability)}, where base rates alone give ${number(prior)}.` : `Margin ${number(Math.abs(margin), 3)}. Not calibrated: this orders pictures and is no probability.`))];
    }, "ask", sentence);
  }

  question(asked) {
    const unsigned = "a machine's reply, signed by nobody";
    return this.#tell("question", "looking ...", (told) => [h("p", { className: "asked" }, `“${told.question}”`), ...saidOf(told.said, { unsigned })], "question", asked);
  }

  report(text) {
    return this.#tell("report", "reading ...", (told) => [...told.sentences.map((each) => this.#sentence(each)), this.#measured(told.evidence)],
      "check_report", text);
  }

  /** How good such checks were found to be. */
  #measured(evidence) {
    const rows = { ...evidence?.auroc, ...evidence?.errors }, who = evidence?.data?.synthetic ? "synthetic patients" : "patients";
    const listed = [["sentence_alike", "like true and false sentences told apart, AUROC"], ["sentence_calibrated", "true sentences told from false copies, AUROC"], ["false_supported", "false sentences called supported"], ["true_contradicted", "true sentences called contradicted"]]
      .filter(([name]) => typeof rows[name]?.value === "number").map(([name, title]) => `${title} ${number(rows[name].value)} (${number(rows[name].low)} to ${number(rows[name].high)}, n ${rows[name].n})`);
    return listed.length ? h("p", { className: "fine" }, `Measured on ${who} not trained on: ${listed.join("; ")}.`) : null;
  }

  /** One sentence of a report; where its finding has a map, the map is one click away. */
  #sentence(each) {
    const row = this.rows?.find((finding) => finding.map && each.facts?.some((fact) => fact.finding === finding.finding));
    return h("div", { className: `sentence ${each.verdict}` },
      h("p", { className: "verdict" }, words(each.verdict), row ? " " : "", row ? h("button", { type: "button", onclick: () => { this.choose(row); this.toggleMap(); } }, `Map of ${words(row.finding)}`) : null),
      h("p", {}, each.text), each.why ? h("p", { className: "fine" }, each.why) : null);
  }

  /** A file of what is shown, given to the browser to save, or sent to the archive. Once another picture is looked at no file is given, and what the archive did is still told. */
  async export(kind, send) {
    const turn = this.turn, pane = this.on.pane(), file = this.study.series[this.series], w = pane.window, mapped = pane.map?.shown && ["png", "sc", "seg"].includes(kind) ? this.chosen?.finding : null, waits = this.#asks("export", "writing ...");
    const tell = (className, text) => {
      const now = waits(), line = h("p", { className, ...(className === "wrong" && { role: "alert" }) }, now ? text : `Of the export before: ${text}`);
      if (now) this.#answer("export", line); else this.#body("export").append(line);
    };
    try {
      const made = await this.#call("export", kind, { frame: pane.index ?? 0, window: w && [w.centre, w.width, w.kind], mapped }, send);
      if (send) { tell("fine", `Sent: the archive took ${made.sent} of 1 object.`); return; }
      if (turn !== this.turn) return;
      const bytes = Uint8Array.from(atob(made.data), (c) => c.charCodeAt(0)), href = URL.createObjectURL(new Blob([bytes], { type: made.media_type }));
      h("a", { href, download: made.filename }).click();
      setTimeout(() => URL.revokeObjectURL(href), 10000);
      tell("fine", `${made.filename}, ${Math.max(1, Math.round(bytes.length / 1024))} kB${mapped ? `, with the map of ${words(mapped)}` : ""}. It carries the research banner${kind === "png" || file.facts?.format ? " and no identifier" : " and refers to the patient of the file"}.`);
    } catch (error) { if (send || turn === this.turn) tell("wrong", error.message); }
  }

  /** Cases like the picture, or like a sentence where one is given. */
  similar(sentence) {
    return this.#tell("similar", "searching ...", (told) => {
      const searched = `${this.told[this.model].index.cases} cases were searched`;
      return [...told.cases.map((each) => h("details", { className: "case" }, h("summary", {},
        h("span", { className: "fine" }, `${each.id} · similarity ${number(each.similarity)} · ${(each.findings ?? []).map(words).join(", ") || "no finding named"}`),
        h("p", {}, each.report ?? "")))),
      h("p", { className: "fine" }, told.folded ? `${searched}, ${told.folded} of the same studies or pictures are folded.` : `${searched}.`)];
    }, "similar", sentence, 6);
  }
}
