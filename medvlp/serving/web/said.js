// What the model says beside scores: a draft in words, and what lies where; each with how good such answers were found.

import { h } from "./viewer.js";

const UNSIGNED = "a machine's draft, signed by nobody";
/** A name as words. */
export const words = (name) => name.replaceAll("_", " ");

/** A section for each answer. @param on {draw(boxes), check(text)}: who lays boxes over the picture (none: []) and says
 * whether it did; who judges the sentences of a draft, null where nobody can. */
export function saidOf(told, on) {
  return told.map((each) => {
    const draft = each.why === null && each.text !== null, doubted = each.over?.some(({ beaten }) => !beaten);
    const say = [draft ? draftOf(each.text, on) : null, each.places ? placesOf(each.places, on) : null];
    const made = h("section", { ariaLabel: draft ? `${each.title}: ${UNSIGNED}` : each.title },
      h("h2", {}, each.title, draft ? h("span", { className: "fine" }, ` · ${UNSIGNED}`) : ""));
    if (each.why) made.append(h("p", { className: "fine" }, each.why));
    else {
      made.append(...(doubted ? [h("details", {}, h("summary", {}, "Show it all the same"), ...say)] : say).filter(Boolean));
      made.querySelector("details")?.before(...each.over.filter(({ beaten }) => !beaten).map(({ sentence }) => h("p", { className: "doubted" }, sentence)));
      made.append(h("p", { className: "fine" }, [each.measured, ...each.over.filter(({ beaten }) => beaten).map(({ sentence }) => sentence)].join(" ")),
        h("details", {}, h("summary", {}, "All that was measured"), h("dl", {}, ...each.rows.flatMap(({ name, value }) => [h("dt", {}, name), h("dd", {}, value)]))));
    }
    made.dataset.answer = each.answer;
    return made;
  });
}

function draftOf(written, on) {
  // A tokenizer of small letters leaves a blank before each mark, and no capital by which a sentence is known.
  const text = written.replace(/(^| [.?!] +)\p{Ll}/gu, (start) => start.toUpperCase()).replace(/ +(?=[.,;:?!])/g, "");
  if (!text.trim()) return h("p", { className: "fine" }, "It wrote nothing of this picture.");
  const copied = (event) => { // what is pasted elsewhere says what it is
    event.clipboardData.setData("text/plain", `[${UNSIGNED}] ${getSelection()}`);
    event.preventDefault();
  };
  return h("div", { className: "draft", oncopy: copied }, h("p", {}, text),
    on.check ? h("button", { type: "button", onclick: () => on.check(text) }, "Check its sentences") : null);
}

/** Places as a list, surest first; the boxes of one are drawn at a time. */
function placesOf(places, on) {
  const say = h("p", { className: "fine", role: "status" }), scored = (score) => h("span", { className: "fine" }, String(Number(score.toPrecision(2))));
  const rows = places.map((each) => {
    const name = each.words.map(words).join(" ");
    if (!each.boxes.length) return h("li", {}, h("span", {}, name), scored(each.score));
    const button = h("button", { type: "button", ariaPressed: "false", onclick: () => {
      const off = button.ariaPressed === "true", drawn = on.draw(off ? [] : each.boxes.map(({ finding, box }) => ({ box, name: words(finding) })));
      for (const other of list.querySelectorAll("button")) other.ariaPressed = String(other === button && drawn && !off);
      say.textContent = off ? "" : drawn ? each.boxes.map(({ finding, hit }) => `Box of ${words(finding)} drawn. ${hit}.`).join(" ") : "The boxes are of the first image: leaf back to see them.";
    } }, name);
    return h("li", {}, button, scored(each.score));
  });
  const list = h("ul", { className: "places" }, ...rows);
  return h("div", {}, list, h("p", { className: "fine" }, places.length ? "Surest first, whether there or not: the numbers order them and are no probabilities." : "It names nothing in this picture."), say);
}
