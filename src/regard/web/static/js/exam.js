/** The exam: a small model that attends is trained on mosaics with planted truth, and examined, in seconds. */

import { button, choice, element, fill } from "./dom.js";
import { mosaic, plane } from "./mosaics.js";
import { figure } from "./numbers.js";
import { progress } from "./progress.js";

const OUTCOMES = [
  ["FTPT", "Looks right, answers right", "good"],
  ["FFPT", "Looks elsewhere, answers right", "bad"],
  ["FTPF", "Looks right, answers wrong", ""],
  ["FFPF", "Looks elsewhere, answers wrong", ""],
];
const PARADIGMS = ["soft", "hard", "sampled", "marginal", "posterior", "supervised"];
const WEIGHTS = ["softmax", "sparsemax", "entmax", "spherical"];
const SEEDS = ["0", "1", "2"];
const SHOWN = 12;

/** What the address says of an exam; where it says nothing that there is, the first.
 * @param {string} said @param {{name: string}[]} exams */
function askedOf(said, exams) {
  const [exam, paradigm, weights, seed] = [exams.map((each) => each.name), PARADIGMS, WEIGHTS, SEEDS].map((known, at) => {
    const part = said.split("*")[at];
    return known.includes(part) ? part : known[0];
  });
  return { exam, paradigm, weights, seed: Number(seed) };
}

/** Shares of all mosaics, in per cent. @param {any} result */
function outcomes(result) {
  return element("ul", { class: "outcomes" }, OUTCOMES.map(([name, words, kind]) =>
    element("li", { class: kind }, element("strong", {}, `${figure(result.outcomes[name])} %`), element("span", {}, words), element("abbr", { title: words }, name))));
}

/** @param {HTMLElement} root @param {import("./store.js").Store} page @param {import("./desk.js").Desk} jobs */
export function exam(root, page, jobs) {
  const form = element("div", { class: "row wrap" });
  const said = element("div", { class: "stack" });
  let shown = /** @type {any} */ (null);
  root.append(element("h2", {}, "Examine attention itself"),
    element("p", { class: "quiet measure" }, "A mosaic holds one foreground piece among background ones, and its label is the foreground’s. A small model must find the piece and name it. So it is known where attention should lie, and whether a right answer came from looking there."), form, said);

  page.subscribe((state) => {
    const exams = state.about?.exams ?? [];
    root.hidden = !exams.length;
    if (!exams.length) return;
    const asked = askedOf(state.exam, exams);
    const task = exams.find((each) => each.name === asked.exam);
    const names = (/** @type {string[]} */ all) => all.map((value) => ({ value, label: value }));
    const set = (/** @type {any} */ news) => page.set({ exam: Object.values({ ...asked, ...news }).join("*") });
    fill(form,
      choice("Task", exams.map((each) => ({ value: each.name, label: each.title })), asked.exam, (value) => set({ exam: value })),
      choice("Trained by", names(PARADIGMS), asked.paradigm, (paradigm) => set({ paradigm })),
      choice("Weights", names(WEIGHTS), asked.weights, (weights) => set({ weights })),
      choice("Seed", names(SEEDS), String(asked.seed), (seed) => set({ seed: Number(seed) })),
      button("Train and examine", () => jobs.run("exam", { kind: "mosaic", ...asked }, { ask: true }), { class: "main", "data-key": "examine" }));
    const work = state.works.exam;
    if (work?.result && work.result === shown) return;
    shown = work?.result ?? null;
    const result = shown;
    fill(said, element("p", { class: "quiet measure" }, task.summary),
      progress(work, { what: "Training and examining", key: "exam", cancel: () => jobs.cancel("exam"), again: () => jobs.again("exam") }),
      result && element("p", { class: "verdict", role: "status" }, element("strong", {}, `${result.diagnosis.mode}: `), result.diagnosis.sentence),
      result && outcomes(result),
      result && element("div", { class: "mosaics" }, result.mosaics.slice(0, SHOWN).map((each) => mosaic(each, plane(result.mosaics)))),
      result && element("p", { class: "quiet" }, "Each square is a mosaic: a dot a piece, as large as its weight. The ring marks the foreground; a cross stands on a piece with hardly any weight."));
  });
}
