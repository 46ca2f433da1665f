// The one table of keys: the page acts by it, `?` prints it, the tests walk it. Names follow OHIF's table.

export const KEYS = [
  ["?", "help", "This table"],
  ["w", "tool-window", "Drag to window (level up and down, width across)"],
  ["z", "tool-zoom", "Drag to zoom"],
  ["p", "tool-pan", "Drag to pan"],
  ["s", "tool-scroll", "Drag to scroll slices"],
  ["d", "tool-ruler", "Drag to measure a distance"],
  ["+", "zoom-in", "Zoom in"],
  ["-", "zoom-out", "Zoom out"],
  ["=", "fit", "Fit to the pane"],
  ["x", "one-to-one", "One pixel of the file to one of the screen"],
  ["r", "rotate-right", "Rotate right"],
  ["l", "rotate-left", "Rotate left"],
  ["h", "flip-across", "Flip left and right"],
  ["v", "flip-down", "Flip up and down"],
  ["i", "invert", "Invert"],
  [" ", "reset", "Reset the view to the file's own display"],
  ["1", "preset-1", "First window"],
  ["2", "preset-2", "Second window"],
  ["3", "preset-3", "Third window"],
  ["4", "preset-4", "Fourth window"],
  ["5", "preset-5", "Fifth window"],
  ["ArrowUp", "previous", "Image before"],
  ["ArrowDown", "next", "Image after"],
  ["Home", "first", "First image"],
  ["End", "last", "Last image"],
  ["PageUp", "series-before", "Series before"],
  ["PageDown", "series-after", "Series after"],
  ["ArrowLeft", "pane-before", "Pane before"],
  ["ArrowRight", "pane-after", "Pane after"],
  [",", "stage-before", "Hanging before"],
  [".", "stage-after", "Hanging after"],
  ["c", "cine", "Play and stop"],
  ["m", "planes", "Three planes, or one"],
  ["n", "finding-after", "Next finding"],
  ["o", "map", "Map of the chosen finding on and off"],
  ["j", "heaviest", "Slice that counts most"],
  ["e", "evidence", "Evidence of the chosen finding"],
  ["f", "panel", "Hide or show what the model says"],
  ["a", "ask", "Write a sentence"],
  ["t", "report", "Write or paste a report"],
  ["b", "made", "How this picture was made"],
  ["Backspace", "delete", "Delete the last measure"],
  ["Escape", "cancel", "Cancel, or leave a field"],
];

const NAMES = { " ": "Space", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", PageUp: "Page ↑", PageDown: "Page ↓" };

/** What is printed for a key. */
export const nameOf = (key) => NAMES[key] ?? key;

const SLIDING = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End", "PageUp", "PageDown"];

/** Call `act(action)` for each key of the table; fields are typed in but for Escape, sliders are moved. */
export function listen(act) {
  const actions = new Map(KEYS.map(([key, action]) => [key, action]));
  let mouse = false; // a list that was chosen from by it gives the keys back to the picture
  document.addEventListener("pointerdown", () => { mouse = true; }, true);
  document.addEventListener("change", ({ target }) => { if (mouse && target.matches("select")) document.querySelector(".pane[aria-current=true]")?.focus({ preventScroll: true }); });
  document.addEventListener("keydown", (event) => {
    mouse = false;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input:not([type=range]), textarea, select");
    const key = /^[^\x00-\x7f]$/.test(event.key) && event.code.startsWith("Key") ? event.code[3] : event.key; // of a layout without Latin letters
    const action = actions.get(key.length === 1 ? key.toLowerCase() : key);
    if (!action || (typing && event.key !== "Escape")) return;
    if (SLIDING.includes(event.key) && event.target.closest(/Left|Right/.test(event.key) ? "input[type=range]" : "#map input[type=range]")) return;
    if (event.key === " " && event.target.closest("button, summary, a, label")) return; // a button is pressed by it
    if (document.querySelector("dialog[open]") && !["help", "cancel"].includes(action)) return;
    event.preventDefault();
    act(action);
    document.body.dataset.did = action;
  });
}
