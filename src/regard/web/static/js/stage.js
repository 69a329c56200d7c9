/** The photo, the map over it, what is taken away; values are read, and patches switched, by pointer and by arrow keys. */

import { gridOf, isPhotoWanted, photoOf, targetName, targetOf } from "./asked.js";
import { element, fill } from "./dom.js";
import { legend } from "./legend.js";
import { figure } from "./numbers.js";
import { boxOn } from "./overlay.js";
import { drawResult, numbersOf, pictureOf, sizeOf } from "./pictures.js";
import { progress } from "./progress.js";
import { isPartOff, removedCells } from "./removed.js";
import { drawRemoved, outline } from "./marks.js";

/** @param {import("./store.js").State} state */
export const strongestOf = (state) => state.held ?? state.works.map?.result?.scale[1] ?? 1;

/** Ranks to draw instead of the map: those switched on, in their tab.
 * @param {import("./store.js").State} state */
export function ranksShown(state) {
  const ranks = state.works.map?.result?.ranks;
  if (!ranks || state.tab !== "ranks") return null;
  const colours = state.about.colours.ranks.length;
  return ranks.valid.flatMap((valid, rank) => (valid && rank < colours && !state.hidden.includes(rank) ? [rank] : []));
}

/** What a cell says.
 * @param {import("./store.js").State} state @param {{row: number, column: number}} cell @param {number[]} grid */
function reading(state, { row, column }, [rows, columns]) {
  const place = `row ${row + 1} of ${rows}, column ${column + 1} of ${columns}`;
  const map = state.works.map?.result;
  if (isPartOff(state)) return `${place}: ${state.off.includes(row * columns + column) ? "off" : "on"}`;
  if (!map) return place;
  const value = numbersOf(map).values[row * columns + column];
  if (Number.isNaN(value)) return `${place}: not seen by the classifier`;
  const meaning = map.signed && value ? `, ${map.signs[value < 0 ? 0 : 1]}` : "";
  return `${place}: ${figure(value, map.signed)}${meaning}`;
}

/** @param {HTMLElement} root @param {import("./store.js").Store} page @param {import("./desk.js").Desk} jobs */
export function stage(root, page, jobs) {
  const photo = element("img", { class: "photo", alt: "" });
  const map = element("canvas", { class: "map", "aria-hidden": "true" });
  const marks = element("canvas", { class: "marks", "aria-hidden": "true" });
  const sheet = element("div", { class: "sheet", tabIndex: 0, role: "application", "aria-describedby": "reading" }, photo, map, marks);
  const read = element("p", { id: "reading", class: "reading" });
  const spoken = element("div", { id: "spoken", class: "unseen", role: "status" });
  const scale = element("div", {});
  const told = element("div", { class: "told" });
  const notes = element("div", {});
  const empty = element("label", { class: "empty", for: "file" },
    element("strong", {}, "Drop a photo here"), element("span", {}, "or paste one, click to pick one, or take a sample above."));
  const credit = element("div", { class: "credit" });
  root.append(empty, element("div", { class: "framed" }, sheet, told), read, spoken, scale, notes, credit);
  let cell = /** @type {{row: number, column: number}|null} */ (null);
  let painting = /** @type {boolean|null} */ (null);
  let drawnMap = "";
  let drawnScale = "";

  const frameOf = (/** @type {any} */ state) => (state.works.map?.result ?? state.works.classes?.result)?.frame ?? null;
  const gridNow = (/** @type {any} */ state) => (isPartOff(state) ? gridOf(state) : state.works.map?.result?.grid ?? gridOf(state));

  /** @param {PointerEvent} event */
  function cellAt(event) {
    const state = page.get();
    const frame = frameOf(state);
    if (!frame) return null;
    const bounds = marks.getBoundingClientRect();
    const [left, top, right, bottom] = boxOn(frame, bounds);
    const [rows, columns] = gridNow(state);
    const column = Math.floor(((event.clientX - bounds.left - left) / (right - left)) * columns);
    const row = Math.floor(((event.clientY - bounds.top - top) / (bottom - top)) * rows);
    return row >= 0 && column >= 0 && row < rows && column < columns ? { row, column } : null;
  }

  function flip(/** @type {boolean} */ off) {
    const state = page.get();
    if (!cell || !isPartOff(state)) return;
    const number = cell.row * gridNow(state)[1] + cell.column;
    const others = state.off.filter((each) => each !== number);
    if (off !== state.off.includes(number)) page.set({ off: off ? [...others, number].sort((one, two) => one - two) : others });
  }

  const isOff = () => Boolean(cell && page.get().off.includes(cell.row * gridNow(page.get())[1] + cell.column));

  function say(/** @type {import("./store.js").State} */ state) {
    const hint = isPartOff(state) ? "Click patches to switch them off and on, or use arrow keys and space." : "Point at the photo to read the map, or focus it and use the arrow keys.";
    read.textContent = cell ? reading(state, cell, gridNow(state)) : state.works.map?.result ? hint : "";
  }

  function point(/** @type {typeof cell} */ next) {
    cell = next;
    const state = page.get();
    say(state);
    mark(state);
  }

  sheet.addEventListener("pointermove", (event) => {
    point(cellAt(event));
    if (painting !== null) flip(painting);
  });
  sheet.addEventListener("pointerdown", (event) => {
    point(cellAt(event));
    if (!cell || !isPartOff(page.get())) return;
    painting = !isOff();
    flip(painting);
    event.preventDefault();
    sheet.focus({ preventScroll: true });
  });
  addEventListener("pointerup", () => (painting = null));
  sheet.addEventListener("pointerleave", () => point(null));
  sheet.addEventListener("keydown", (event) => {
    const [down, across] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    const [rows, columns] = gridNow(page.get());
    if (down || across) {
      const from = cell ?? { row: Math.floor(rows / 2) - down, column: Math.floor(columns / 2) - across };
      point({ row: Math.min(rows - 1, Math.max(0, from.row + down)), column: Math.min(columns - 1, Math.max(0, from.column + across)) });
    } else if ((event.key === " " || event.key === "Enter") && isPartOff(page.get())) flip(!isOff());
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
    say(page.get());
    spoken.textContent = read.textContent; // what a pointer passes over is not read aloud
  });

  /** Over the map; `data-drawn` says that it is as the state has it. */
  async function mark(/** @type {import("./store.js").State} */ state) {
    const frame = frameOf(state);
    const context = marks.getContext("2d");
    context.clearRect(0, 0, marks.width, marks.height);
    marks.toggleAttribute("data-drawn", false);
    const shown = photoOf(state);
    if (!frame || !shown) return;
    const { cells, grid, how } = removedCells(state);
    const picture = cells.length ? await pictureOf(shown.id) : null;
    if (state !== page.get()) return;
    if (picture) drawRemoved(context, picture, frame, grid, cells, how);
    outline(context, frame, gridNow(state), cell, isPartOff(state));
    marks.toggleAttribute("data-drawn", true);
  }

  /** What the map's canvas shows is not what it should; `data-drawn` comes back with the next drawing. */
  function forget(next = "") {
    drawnMap = next;
    map.toggleAttribute("data-drawn", false);
  }

  async function draw(/** @type {import("./store.js").State} */ state) {
    const result = state.works.map?.result;
    const shown = photoOf(state);
    const ranks = ranksShown(state);
    const strongest = strongestOf(state);
    map.classList.toggle("stale", Boolean(state.works.map) && !result);
    const now = JSON.stringify([state.works.map?.id, shown?.id, state.cells, ranks, strongest]);
    if (!result || !shown) return forget();
    if (now === drawnMap) return;
    forget(now);
    const picture = await pictureOf(shown.id).catch(() => null);
    if (!picture || now !== drawnMap) return;
    drawResult(map, picture, result, { colours: state.about.colours, strongest, cells: state.cells === "sharp", ranks });
    map.toggleAttribute("data-drawn", true);
  }

  function place(/** @type {any} */ shown) {
    const address = `/api/v1/photos/${encodeURIComponent(shown.id)}?longest=1280`;
    if (photo.getAttribute("src") === address) return;
    photo.src = address;
    photo.alt = shown.alt ?? shown.name;
    for (const canvas of [map, marks]) Object.assign(canvas, sizeOf(shown));
    sheet.style.setProperty("--ratio", String(shown.width / shown.height));
    forget();
    cell = null;
  }

  page.subscribe((state) => {
    const shown = photoOf(state);
    empty.hidden = Boolean(shown);
    sheet.hidden = !shown;
    if (isPhotoWanted(state)) fill(empty, element("strong", {}, "Which photo was it?"), element("span", {}, "Drop it here, paste it, or click to pick it."));
    if (shown) place(shown);
    const result = state.works.map?.result;
    const isQuestioned = state.tab === "question";
    map.style.opacity = isQuestioned ? "0" : state.opacity;
    sheet.setAttribute("aria-label", shown ? `${result ? `Map of ${targetName(state, targetOf(state))} over the photo` : "The photo"}. Arrow keys read ${isPartOff(state) ? "patches, space switches one off or on" : "its values"}.` : "");
    sheet.classList.toggle("switching", isPartOff(state));
    draw(state);
    mark(state);
    say(state);
    const [author, ...licence] = (shown?.credit ?? "").split(", http");
    fill(credit, author && element("details", {}, element("summary", {}, `Photo: ${author} (licence and source)`), element("p", {}, licence.map((part) => `http${part}`).join(", "))));
    const isRanked = Boolean(ranksShown(state));
    const now = `${Boolean(result)} ${isRanked} ${state.works.map?.id} ${strongestOf(state)}`;
    if (now !== drawnScale) fill(scale, result && !isRanked && legend(result, strongestOf(state), state.about.colours));
    drawnScale = now;
    const what = `The map of ${targetName(state, targetOf(state))}`;
    fill(told, progress(state.works.map, { what, key: "map", cancel: () => jobs.cancel("map"), again: () => jobs.again("map") }));
    fill(notes, result?.notes.map((note) => element("p", { class: "note" }, note)));
  });
}
