"""The page's scripts that need no page, run by node: what they ask of the server, and what they take for a shortcut."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import medvlp

WEB = Path(medvlp.__file__).parent / "serving" / "web"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not on the path (Debian: apt-get install nodejs)")


@pytest.fixture
def told(tmp_path):
    """Run a script beside the page's, and return what it told as JSON."""
    folder = shutil.copytree(WEB, tmp_path / "web")
    (folder / "package.json").write_text('{"type": "module"}')

    def run(script):
        (folder / "script.js").write_text(script)
        ran = subprocess.run([str(NODE), "script.js"], cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


def test_a_page_that_is_seen_again_says_at_once_that_it_is_there(told):
    asked = told("""
        import { stayAlive } from "./server.js";
        const asked = [], heard = {};
        globalThis.fetch = async (path) => { asked.push(path); return { ok: true, json: async () => ({ files: 0 }) }; };
        globalThis.addEventListener = () => {};
        globalThis.setInterval = () => {};
        globalThis.document = { visibilityState: "visible", addEventListener: (name, act) => { heard[name] = act; } };
        await stayAlive(15000, () => {});
        document.visibilityState = "hidden";
        heard.visibilitychange();
        const hidden = asked.length;
        document.visibilityState = "visible";
        heard.visibilitychange();
        console.log(JSON.stringify([hidden, asked]));
    """)
    assert asked == [1, ["/rr/alive", "/rr/alive"]]


# A server that refuses the second of the requests made of it.
_REFUSES = """
    const asked = [];
    globalThis.fetch = async (path) => {
      asked.push(path.split("/pixels/")[1] ?? path.split("/").at(-2));
      const text = async () => '{"error": "There is no such picture in this session."}';
      return { ok: asked.length !== 2, status: 404, text, arrayBuffer: async () => new ArrayBuffer(8 * 4 * 2) };
    };
"""


def test_a_slab_that_failed_is_told_and_it_alone_is_asked_for_again(told):
    first, wrong, heard, again = told(
        _REFUSES
        + """
        import { Volume } from "./mpr.js";
        const volume = new Volume("k", 0, { count: 40, rows: 2, columns: 2, lo: 0 });
        const heard = [];
        await volume.stream(() => heard.push([volume.arrived, volume.wrong]));
        const first = [...asked], wrong = volume.wrong;
        await volume.stream(() => {});
        await volume.stream(() => {});
        const again = [asked.slice(first.length), volume.arrived, volume.wrong];
        console.log(JSON.stringify([first, wrong, heard, again]));
    """
    )
    assert first == ["16/24", "24/32", "8/16", "32/40", "0/8"]
    assert wrong == "There is no such picture in this session."
    assert heard == [[8, ""], [16, ""], [24, ""], [32, ""], [32, wrong]]
    assert again == [["24/32"], 40, ""]


@pytest.mark.parametrize("what", ["frameOf", "coloursOf"])
def test_a_frame_that_failed_is_asked_for_again_and_one_that_came_is_not(told, what):
    got = told(
        _REFUSES
        + f"import {{ {what} as of }} from './series.js';"
        + """
        const frames = [{ coloured: true }, { coloured: true }];
        const study = { key: "k", frames: new Map(), series: [{ frames }] }, got = [];
        for (const index of [0, 1, 1, 1, 0]) {
          got.push(await of(study, 0, index).then((values) => values.byteLength, (error) => error.message));
        }
        console.log(JSON.stringify([...got, asked.length]));
    """
    )
    assert got == [64, "There is no such picture in this session.", 64, 64, 64, 3]


@pytest.mark.parametrize(
    ("lo", "hi", "slope", "inverted", "centre", "width"),
    [(300, 3500, 1, False, 2048, 4096), (60, 180, 1, True, 128, 256), (0, 4000, -0.5, False, -900, 700)],
)
def test_a_drag_begins_at_the_window_that_is_shown_though_the_picture_holds_a_part_of_it(
    told, lo, hi, slope, inverted, centre, width
):
    paint = {"lo": lo, "hi": hi, "slope": slope, "intercept": 0, "inverted": inverted}
    began, apart = told(
        f"""
        import {{ likeWindow, windowTable }} from "./table.js";
        const paint = {json.dumps(paint)}, shown = windowTable(paint, {centre}, {width}, "LINEAR");
        const {{ centre, width, kind }} = likeWindow(paint, shown), again = windowTable(paint, centre, width, kind);
        const apart = Math.max(...shown.map((level, k) => Math.abs(level - again[k])));
        console.log(JSON.stringify([[centre, width], apart]));
    """
    )
    assert began == pytest.approx([centre, width], rel=0.01)
    assert apart <= 1


def test_a_server_that_is_gone_is_told_in_a_sentence(told):
    assert told("""
        import { getJson } from "./server.js";
        globalThis.fetch = async () => { throw new TypeError("Failed to fetch"); };
        console.log(JSON.stringify(await getJson("/rr/alive").catch((error) => error.message)));
    """).startswith("No answer came: the reading room was closed")


# A page of nothing but what is written into it, and a server whose answers come when `answers[n]` is called.
_PAGE = """
    const made = new Map();
    const element = (id) => ({ id, dataset: {}, childNodes: [], classList: { toggle() {} }, hidden: false,
      addEventListener() {}, setAttribute() {}, scrollIntoView() {}, click() {}, querySelectorAll: () => [],
      append(...more) { this.childNodes.push(...more); }, replaceChildren(...more) { this.childNodes = more; },
      querySelector(what) { return found(`${id} ${what}`); }, closest: () => element("label") });
    const found = (id) => { if (!made.has(id)) made.set(id, element(id)); return made.get(id); };
    const body = found("body");
    globalThis.document = { getElementById: found, createElement: element, createElementNS: element, body };
    const text = (node) => (typeof node === "string" ? node : node.childNodes.map(text).join(""));
    const answers = [];
    globalThis.fetch = async (path, { method }) => {
      if (method) return { ok: true, json: async () => ({ event_id: answers.push(null) - 1 }) };
      const result = await new Promise((done) => { answers[Number(path.split("/").at(-1))] = done; });
      return { ok: true, text: async () => `event: complete\\ndata: ${JSON.stringify([result])}` };
    };
    const pane = { index: 0, window: null, map: null, boxes: [], setMap() {}, setBoxes() {} };
    const { Says } = await import("./says.js");
    const says = new Says({ pane: () => pane, panes: () => [pane], weighed() {} });
    const study = (key) => ({ key, series: [{ kind: "image", count: 1 }] });
    const settled = () => new Promise((done) => setTimeout(done, 5));
"""


def test_of_two_questions_the_later_ones_answer_stays(told):
    assert told(
        _PAGE
        + """
        says.study = study("a"); says.series = 0;
        const answer = (statement) => ({ margin: 1, statement, denial: "none", calibrated: false });
        says.ask("first"); says.ask("second"); await settled();
        answers[1](answer("second")); await settled();
        answers[0](answer("first")); await settled();
        console.log(JSON.stringify(text(found("ask .body"))));
    """
    ).startswith("The picture is nearer to “second”")


def test_a_map_on_its_way_does_not_come_when_another_finding_is_chosen(told):
    """What is exported is the chosen finding's map: another one's would be shown and not it."""
    assert told(
        _PAGE
        + _MAPS
        + """
        says.choose(says.rows[0]); says.toggleMap(); await settled();
        says.choose(says.rows[1]);
        answers[0](mapped(0.6, 1)); await settled();
        console.log(JSON.stringify([pane.map, found("map").hidden]));
    """
    ) == [None, True]


def test_an_answer_may_quote_the_words_that_end_one(told):
    quoted = "Cardiac event: complete heart block."
    script = f"""
        says.study = study("a"); says.series = 0;
        says.report({json.dumps(quoted)}); await settled();
        answers[0]({{ sentences: [{{ text: {json.dumps(quoted)}, verdict: "not_judged" }}] }}); await settled();
        console.log(JSON.stringify(text(found("report .body"))));
    """
    assert told(_PAGE + script) == f"not judged{quoted}"


@pytest.mark.parametrize(
    ("margin", "probability", "said"),
    [
        (-0.1, 0.2, "More than base rates, this picture leans to “No left effusion.”and away from “Left effusion.”"),
        (0.1, 0.2, "More than base rates, this picture leans to “No left effusion.”and away from “Left effusion.”"),
        (-0.1, 0.4, "More than base rates, this picture leans to “Left effusion.”and away from “No left effusion.”"),
        (0.1, 0.304, "The picture does not tell “Left effusion.” from “No left effusion.”"),
    ],
)
def test_a_calibrated_sentence_leans_as_its_probability_whatever_its_margin(told, margin, probability, said):
    """Calibration may turn a margin over: words and number of one answer are never of two opinions."""
    answer = {"margin": margin, "probability": probability, "prior": 0.3, "calibrated": True}
    answer |= {"statement": "Left effusion.", "denial": "No left effusion."}
    script = f"""
        says.study = study("a"); says.series = 0;
        says.ask("Left effusion."); await settled();
        answers[0]({json.dumps(answer)}); await settled();
        console.log(JSON.stringify(text(found("ask .body"))));
    """
    number = f"Probability of “Left effusion.” {probability:.2f}, where base rates alone give 0.30."
    assert told(_PAGE + script) == f"{said}{number}"


@pytest.mark.parametrize(
    ("cannot", "said"),
    [
        ("null", "More than the mean picture, this one leans to “A.”and away from “No a.”"),
        ("'no sentences are calibrated'", "The picture is nearer to “A.”than to “No a.”"),
    ],
)
def test_a_margin_is_told_as_what_it_is_beyond_the_mean_picture_or_of_this_one_alone(told, cannot, said):
    assert told(
        _PAGE
        + f"""
        says.study = study("a"); says.series = 0; says.told = [{{ cannot: {{ check_report: {cannot} }} }}];"""
        + """
        says.ask("A."); await settled();
        answers[0]({ margin: 0.1, statement: "A.", denial: "No a.", calibrated: false }); await settled();
        console.log(JSON.stringify(text(found("ask .body"))));
    """
    ).startswith(said)


@pytest.mark.parametrize(
    ("kind", "of", "said"),
    [
        ("png", {}, ", with the map of effusion. It carries the research banner and no identifier."),
        (
            "seg",
            {},
            ", with the map of effusion. It carries the research banner and refers to the patient of the file.",
        ),
        ("sr", {}, ". It carries the research banner and refers to the patient of the file."),
        ("fhir", {}, ". It carries the research banner and refers to the patient of the file."),
        ("fhir", {"format": "PNG"}, ". It carries the research banner and no identifier."),
    ],
)
def test_what_is_said_of_an_exported_file_is_in_it(told, kind, of, said):
    assert (
        told(
            _PAGE
            + f"""
        globalThis.URL.createObjectURL = () => "";
        says.study = {{ key: "a", series: [{{ kind: "image", count: 1, facts: {json.dumps(of)} }}] }};
        says.series = 0; says.chosen = {{ finding: "effusion" }}; pane.map = {{ shown: true }};
        says.export("{kind}", false); await settled();
        answers[0]({{ data: "AAAA", filename: "f", media_type: "" }}); await settled();
        console.log(JSON.stringify(text(found("export .body"))));
        process.exit();
    """
        )
        == f"f, 1 kB{said}"
    )


def test_a_pasted_report_does_not_go_over_to_the_next_study(told):
    assert told(
        _PAGE
        + """
        const seen = [];
        says.models({ models: [{ name: "m", hash: "abcdefgh" }], exports: [] });
        found("text").value = "pasted before the film";
        for (const key of ["a", "a", "b"]) {
          says.about(study(key), 0); await settled();
          seen.push(found("text").value);
          found("text").value = `report of ${key}`;
        }
        console.log(JSON.stringify(seen));
    """
    ) == ["pasted before the film", "report of a", ""]


def test_what_the_archive_took_is_told_though_another_picture_is_looked_at_since(told):
    said = told(
        _PAGE
        + """
        says.study = study("a"); says.series = 0;
        says.export("sr", true); await settled();
        await says.about(study("b"), 0);
        answers[0]({ sent: 1 }); await settled();
        console.log(JSON.stringify(text(found("export .body"))));
    """
    )
    assert said == "Of the export before: Sent: the archive took 1 of 1 object."


# Two findings of one picture that have maps.
_MAPS = """
    document.createElement = (tag) => Object.assign(element(tag), { getContext: () => ({ fillRect() {} }) });
    Object.assign(pane, { setMap(map) { pane.map = map; }, draw() {} });
    const rows = ["effusion", "edema"].map((finding) => ({ finding, map: true }));
    Object.assign(says, { study: study("a"), series: 0, rows });
    const mapped = (low, high) => ({ method: "occlusion", rows: 1, columns: 1, values: "AA==", box: [0, 0, 1, 1],
      hit_rate: { value: 1, low, high, n: 12, centre: 0.25 } });
"""


def test_a_hit_rate_without_an_interval_is_told_without_one(told):
    """Of fewer than five patients there is none, nor where every map hit: a bootstrap of 12 of 12 has no spread."""
    none, some = told(
        _PAGE
        + _MAPS
        + """
        const shown = [];
        for (const [n, ends] of [[null, null], [0.6, 1]].entries()) {
          says.choose(says.rows[n]); says.toggleMap(); await settled();
          answers[n](mapped(...ends)); await settled();
          shown.push(text(found("map .body")));
        }
        console.log(JSON.stringify(shown));
    """
    )
    assert "in 100 % of 12 test pictures with it (no interval), the centre of the picture in 25 %." in none
    assert "in 100 % of 12 test pictures with it (60 to 100 %)" in some


def test_the_heaviest_slice_is_named_by_the_number_that_the_pane_shows(told):
    """An axial slice is counted from the feet, though the strip has the head at its left."""
    assert told(
        _PAGE
        + """
        const { drawStrip } = await import("./strip.js");
        const said = [];
        document.createElementNS = (_, tag) =>
          Object.assign(element(tag), { setAttribute: (name, value) => name === "aria-label" && said.push(value) });
        found("root svg").replaceWith = () => {};
        const heaviest = { at: 10, weight: 0.5 };
        drawStrip(found("root"), { cut: "axial", count: 60, bars: [heaviest], heaviest, even: 0.1 }, 10, () => {});
        console.log(JSON.stringify(said));
    """
    ) == ["Weight of each slice; the heaviest is 11 of 60"]


def test_keys_that_move_a_slider_move_the_maps_and_are_shortcuts_elsewhere_but_left_and_right(told):
    did = told("""
        import { KEYS, listen } from "./keys.js";
        let press;
        const did = {}, body = { dataset: {} }, range = "input[type=range]";
        const addEventListener = (name, act) => { press = act; };
        globalThis.document = { addEventListener, querySelector: () => null, body };
        for (const [place, matched] of [["map", ["#map " + range, range, "label"]], ["slice", [range]], ["pane", []]]) {
          const closest = (selectors) => selectors.split(", ").find((each) => matched.includes(each)) ?? null;
          const left = (did[place] = []);
          listen(() => {});
          for (const [key] of KEYS) press({ key, target: { closest }, preventDefault: () => left.push(key) });
        }
        console.log(JSON.stringify([did, KEYS.map(([key]) => key)]));
    """)
    sliding = {"ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"}
    (taken, keys) = did
    assert taken["pane"] == keys
    assert set(keys) - set(taken["slice"]) == {"ArrowLeft", "ArrowRight"}  # up and down leaf, as in the pane
    assert set(keys) - set(taken["map"]) == sliding | {" "}  # of a label the space is its own


def test_keys_are_by_their_letter_and_where_a_layout_has_none_by_their_place(told):
    did = told("""
        import { listen } from "./keys.js";
        const did = [], target = { closest: () => null }, preventDefault = () => {};
        let press;
        const addEventListener = (name, act) => { press = act; };
        globalThis.document = { addEventListener, querySelector: () => null, body: { dataset: {} } };
        listen((action) => did.push(action));
        const pressed = { ц: "KeyW", В: "KeyD", ς: "KeyW", w: "KeyZ", k: "KeyV", ö: "Semicolon" };
        for (const [key, code] of Object.entries(pressed)) {
          did.push(key);
          press({ key, code, target, preventDefault });
        }
        console.log(JSON.stringify(did));
    """)  # Russian, Russian with shift, Greek, French; Dvorak's k and German's ö are no key of the table
    expected = ["ц", "tool-window", "В", "tool-ruler", "ς", "tool-window", "w", "tool-window", "k", "ö"]
    assert did == expected
