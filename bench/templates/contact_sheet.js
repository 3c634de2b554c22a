"use strict";
// TILES tells these tiles from those of another corpus.
// ROWS holds every line of the judge's file: concept, queries, tile, grade (1, 0 or null). A tile's data-line is its place there.
const SIGNS = { 1: "✓", 0: "✗" }, WORDS = { 1: "relevant", 0: "not relevant" };
const tiles = [...document.querySelectorAll(".tile")];
const key = ["ris-bench", JUDGE, TILES, location.pathname].join(" ");
let saved = true;

function mark(tile, grade) {
  const row = ROWS[Number(tile.dataset.line)];
  row[3] = grade;
  if (grade === null) delete tile.dataset.mark; else tile.dataset.mark = grade;
  tile.querySelector(".mark").textContent = grade === null ? "" : SIGNS[grade];
  tile.setAttribute("aria-label", "Tile " + row[2] + ", " + (grade === null ? "undecided" : WORDS[grade]));
}

function tell(isSaved) {
  const marks = tiles.map((tile) => tile.dataset.mark).filter((grade) => grade !== undefined);
  const right = marks.filter((grade) => grade === "1").length;
  document.getElementById("progress").textContent =
    marks.length.toLocaleString("en") + " of " + tiles.length.toLocaleString("en") + " judged, " + right.toLocaleString("en") + " relevant";
  saved = isSaved;
  document.getElementById("unsaved").hidden = saved;
}

function judge(tile, grade) {
  mark(tile, grade);
  keep();
  tell(false);
}

// The browser remembers what was not saved yet, where it lets a local page do so.
function keep() {
  const marks = {};
  for (const tile of tiles) if (tile.dataset.mark) marks[nameOf(tile)] = Number(tile.dataset.mark);
  try { localStorage.setItem(key, JSON.stringify(marks)); } catch { return; }
}

function recall() {
  let marks = {};
  try { marks = JSON.parse(localStorage.getItem(key)) || {}; } catch { return; }
  const known = tiles.filter((tile) => [0, 1].includes(marks[nameOf(tile)]));
  for (const tile of known) mark(tile, marks[nameOf(tile)]);
  tell(known.length === 0);
}

function nameOf(tile) {
  const [concept, , id] = ROWS[Number(tile.dataset.line)];
  return concept + "\n" + id;
}

function csv() {
  // An apostrophe goes before what a spreadsheet would compute, as in the files that the program writes.
  const guarded = (text) => (/^'?[=+@\t\r]|^'?-(?!\d*\.?\d*$)/.test(text) ? "'" + text : text);
  const quoted = (text) => '"' + guarded(String(text)).replaceAll('"', '""') + '"';
  const lines = ROWS.map(([concept, queries, tile, grade]) => [quoted(concept), quoted(queries), tile, grade ?? ""].join(","));
  return [HEADING.join(","), ...lines].join("\n") + "\n";
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = JUDGE + ".csv";
  link.click();
  URL.revokeObjectURL(link.href);
  try { localStorage.removeItem(key); } catch { /* what could not be kept need not be forgotten */ }
  tell(true);
}

function move(tile, steps) {
  const next = tiles[tiles.indexOf(tile) + steps];
  if (next) next.focus();
}

function inRow(tile) {  // tiles beside each other, for the arrows up and down
  return Math.max(1, getComputedStyle(tile.parentElement).gridTemplateColumns.split(" ").length);
}

document.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (tile) judge(tile, { undefined: 1, 1: 0, 0: null }[tile.dataset.mark]);
  if (event.target.matches(".rest")) {
    for (const open of event.target.closest("section").querySelectorAll(".tile:not([data-mark])")) mark(open, 0);
    keep();
    tell(false);
  }
});

document.addEventListener("keydown", (event) => {
  const tile = document.activeElement.closest(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
  const grade = { 1: 1, y: 1, 0: 0, n: 0, Backspace: null, Delete: null }[event.key];
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: inRow(tile), ArrowUp: -inRow(tile) }[event.key];
  if (grade !== undefined) { judge(tile, grade); if (grade !== null) move(tile, 1); }
  if (steps) move(tile, steps);
  if (grade !== undefined || steps) event.preventDefault();
});

document.getElementById("save").addEventListener("click", save);
addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
recall();
