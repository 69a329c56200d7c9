/** The likeliest classes as bars; a click asks for a class's map. Where patches are off, what that changed. */

import { classifierOf, indexOf, labelOf, photoOf } from "./asked.js";
import { element, fill } from "./dom.js";
import { figure, percent, points } from "./numbers.js";
import { isUnderWay } from "./jobs.js";
import { progress } from "./progress.js";

const SHOWN = 5;

/** Classes to show: the likeliest, and the one that is asked for, if it is none of them.
 * @param {import("./store.js").State} state */
function rows(state) {
  const { classes, without, map } = state.works;
  const before = classes?.result?.classes ?? [];
  const now = new Map((without?.result?.classes ?? []).map((each) => [each.index, each]));
  const asked = indexOf(state);
  const shown = before.slice(0, SHOWN);
  if (asked !== null && !shown.some((each) => each.index === asked)) {
    const answer = before.find((each) => each.index === asked) ?? { ...map?.result?.target, index: asked };
    shown.push({ ...answer, label: labelOf(state, asked) });
  }
  const risen = [...now.values()].filter((each) => !shown.some((row) => row.index === each.index)).slice(0, 2);
  return [...shown, ...risen.map((each) => ({ ...each, probability: null, score: null }))].map((each) => ({ ...each, after: now.get(each.index) }));
}

/** @param {number} change @param {boolean} isShare */
function changed(change, isShare) {
  const words = isShare ? points(change) : figure(change, true);
  const direction = words === "±0" ? "" : change < 0 ? " less" : " more";
  return element("span", { class: `change${direction}`, title: isShare ? "points of per cent" : "of the score" }, words);
}

/** @param {any} row @param {number} most  the score that fills the bar where there are no probabilities */
function bar(row, most, pressed, choose) {
  const share = (/** @type {any} */ each) => (each?.probability ?? (most ? Math.max(0, each?.score ?? 0) / most : 0)) || 0;
  const value = (/** @type {any} */ each) => (each.probability === null || each.probability === undefined ? figure(each.score) : percent(each.probability));
  const current = row.after ?? row;
  const track = element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "ghost" }), element("span", { class: "full" }));
  track.children[0].style.width = percent(share(row)).replace(/\s/, "");
  track.children[1].style.width = percent(share(current)).replace(/\s/, "");
  const change = row.after?.change;
  return element(
    "li",
    {},
    element(
      "button",
      { type: "button", class: "bar", "aria-pressed": String(pressed), "data-key": `class ${row.index}`, onclick: choose },
      element("span", { class: "label" }, row.label ?? `class ${row.index}`),
      change !== undefined && change !== null && changed(change, row.after.probability !== null),
      element("span", { class: "number" }, value(current)),
      track,
    ),
  );
}

/**
 * @param {HTMLElement} root @param {import("./store.js").Store} page @param {import("./desk.js").Desk} jobs
 */
export function bars(root, page, jobs) {
  const heading = element("h2", { id: "classes-heading" }, "What it sees");
  const list = element("ol", { class: "bars", "aria-labelledby": "classes-heading" });
  const below = element("div", {});
  root.append(heading, list, below);

  page.subscribe((state) => {
    const { classes, without } = state.works;
    const found = rows(state);
    const most = Math.max(0, ...found.map((row) => row.score ?? 0));
    const choose = (/** @type {number} */ index) => page.set({ target: `class:${index}`, hidden: [], held: state.held });
    const asked = indexOf(state);
    list.setAttribute("aria-busy", String(isUnderWay(classes) || isUnderWay(without)));
    fill(list, isUnderWay(classes) && !found.length
      ? Array.from({ length: SHOWN }, () => element("li", { class: "bone", "aria-hidden": "true" }))
      : found.map((row) => bar(row, most, row.index === asked, () => choose(row.index))));
    const say = { cancel: () => jobs.cancel("classes"), again: () => jobs.again("classes") };
    fill(below,
      !photoOf(state) && element("p", { class: "quiet" }, "The likeliest classes of your photo will stand here. Each has a map of what speaks for it, and what against."),
      classifierOf(state)?.classes === null && element("p", { class: "quiet" }, "This classifier has no classes: show it a concept instead."),
      progress(classes, { what: "Finding the likeliest classes", ...say }),
      progress(without, { what: "The answer without those patches", cancel: () => jobs.cancel("without"), again: () => jobs.again("without") }));
  });
}
