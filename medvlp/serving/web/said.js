// What the model says beside scores: a draft in words, and what lies where; each with how good such answers were found.

import { h } from "./viewer.js";

const UNSIGNED = "a machine's draft, signed by nobody";
/** A name as words. */
export const words = (name) => name.replaceAll("_", " ");

/** A section for each answer. @param on {draw(boxes), check(text)}: who lays boxes over the picture (none: []) and says
 * whether it did; who judges the sentences of a draft, null where nobody can. {unsigned}: what words are, if no draft. */
export function saidOf(told, on) {
  const unsigned = on.unsigned ?? UNSIGNED;
  return told.map((each) => {
    const draft = each.why === null && each.text !== null, doubted = each.over?.some(({ beaten }) => !beaten);
    const say = [draft ? draftOf(each.text, unsigned, on) : null, each.places ? placesOf(each.places, doubted, on) : null];
    const made = h("section", { ariaLabel: draft ? `${each.title}: ${unsigned}` : each.title },
      h("h2", {}, each.title, draft ? h("span", { className: "fine" }, ` · ${unsigned}`) : ""));
    if (each.why) made.append(h("p", { className: "fine" }, each.why));
    else {
      made.append(...(doubted ? [closed("Show it all the same", "", ...say.filter(Boolean))] : say).filter(Boolean));
      made.querySelector("details")?.before(...each.over.filter(({ beaten }) => !beaten).map(({ sentence }) => h("p", { className: "doubted" }, sentence)));
      made.append(h("p", { className: "fine" }, [each.measured, ...each.over.filter(({ beaten }) => beaten).map(({ sentence }) => sentence)].join(" ")),
        h("details", { open: Boolean(on.unsigned) }, h("summary", {}, "All that was measured"), h("dl", {}, ...each.rows.flatMap(({ name, value }) => [h("dt", {}, name), h("dd", {}, value)]))));
    }
    made.dataset.answer = each.answer;
    return made;
  });
}

/** What is shown when it is asked for; closed again, it takes what it drew off the picture. */
function closed(summary, className, ...what) {
  const off = ({ target }) => { if (!target.open) target.querySelector("[aria-pressed=true]")?.click(); };
  return h("details", { ontoggle: off }, h("summary", { className }, summary), ...what);
}

function draftOf(written, unsigned, on) {
  // A tokenizer of small letters leaves a blank before each mark, and no capital by which a sentence is known.
  const text = written.replace(/(^| [.?!] +)\p{Ll}/gu, (start) => start.toUpperCase()).replace(/ +(?=[.,;:?!])/g, "");
  if (!text.trim()) return h("p", { className: "fine" }, "It wrote nothing of this picture.");
  const copied = (event) => { // what is pasted elsewhere says what it is
    event.clipboardData.setData("text/plain", `[${unsigned}] ${getSelection()}`);
    event.preventDefault();
  };
  return h("div", { className: "draft", oncopy: copied }, h("p", {}, text),
    on.check ? h("button", { type: "button", onclick: () => on.check(text) }, "Check its sentences") : null);
}

/** Places as a list, surest first, or masks; those of one are drawn at a time. A mask that beat no control is closed, if not all are. */
function placesOf(places, doubted, on) {
  const say = h("p", { className: "fine", role: "status" });
  const rows = places.map((each) => {
    const name = each.words.map(words).join(" "), beside = h("span", { className: "fine" }, each.hit ?? String(Number(each.score.toPrecision(2))));
    if (!each.boxes.length) return h("li", {}, h("span", {}, name), beside);
    const button = h("button", { type: "button", ariaPressed: "false", onclick: () => {
      const off = button.ariaPressed === "true", drawn = on.draw(off ? [] : each.boxes.map(({ finding, ...place }) => ({ ...place, name: words(finding) })));
      for (const other of list.querySelectorAll("button")) other.ariaPressed = String(other === button && drawn && !off);
      say.textContent = off ? "" : drawn ? each.boxes.map(({ finding, runs, hit }) => `${runs ? "Mask" : "Box"} of ${words(finding)} drawn. ${hit}.`).join(" ") : "It is of the first image: leaf back to see it.";
    } }, name);
    const doubts = doubted ? [] : (each.over ?? []).filter(({ beaten }) => !beaten).map(({ sentence }) => sentence);
    return h("li", {}, ...(doubts.length ? [closed(`${name}: ${doubts.join(" ")}`, "doubted", button, " ", beside)] : [button, beside]));
  });
  const list = h("ul", { className: "places" }, ...rows);
  return h("div", {}, list, h("p", { className: "fine" }, !places.length ? "It names nothing in this picture." : places[0].hit ? "Dice is 1 where a mask is the drawn one, 0 where they share nothing." : "Surest first, whether there or not: the numbers order them and are no probabilities."), say);
}
