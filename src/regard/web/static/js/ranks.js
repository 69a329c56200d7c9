/** Representatives (BR-NPA): each in its colour, switched on and off, with its share of the logit. */

import { element, fill } from "./dom.js";
import { figure, percent } from "./numbers.js";

/** A share of the score where it is one, else what it adds.
 * @param {number|undefined} part @param {number|null} score */
const inWords = (part, score) => (part === undefined || !Number.isFinite(part) ? "" : score && score > 0 ? `${figure(part, true)} (${percent(part / score)})` : figure(part, true));

/** @param {HTMLElement} root @param {import("./store.js").Store} page */
export function ranks(root, page) {
  const list = element("ul", { class: "ranks" });
  const said = element("div", {});
  root.append(element("h2", { class: "unseen" }, "Representatives"), element("p", { class: "quiet" }, "The places that stand for the picture, in the order in which they were found. Switch them off and on."), list, said);

  page.subscribe((state) => {
    const map = state.works.map?.result;
    if (state.tab !== "ranks" || !map?.ranks) return;
    const { valid, shares, bias } = map.ranks;
    const score = map.target.score;
    const flip = (/** @type {number} */ rank) => page.set({ hidden: state.hidden.includes(rank) ? state.hidden.filter((each) => each !== rank) : [...state.hidden, rank] });
    fill(list, valid.map((isValid, rank) => {
      const colour = element("span", { class: "swatch", "aria-hidden": "true" });
      const [red, green, blue] = state.about.colours.ranks[rank] ?? [128, 128, 128];
      colour.style.background = `rgb(${red} ${green} ${blue})`;
      const box = element("input", { type: "checkbox", checked: isValid && !state.hidden.includes(rank), disabled: !isValid, "data-key": `rank ${rank}`, onchange: () => flip(rank) });
      const words = isValid ? inWords(shares?.[rank], score) : "nothing new";
      return element("li", {}, element("label", {}, box, colour, element("span", { class: "label" }, `Rank ${rank + 1}`), element("span", { class: "number" }, words)));
    }));
    const left = shares ? shares.reduce((sum, part, rank) => sum + (state.hidden.includes(rank) ? 0 : part), bias ?? 0) : null;
    fill(said,
      shares && bias !== null && element("p", { class: "quiet" }, `The head’s bias adds ${figure(bias, true)}.`),
      shares && element("p", { class: "verdict", role: "status" }, `With those that are on the logit of ${map.target.name} is ${figure(left)}; with all of them ${figure(score)}.`),
      !shares && element("p", { class: "note" }, "This classifier does not decide by its representatives, so none has a share of the logit."));
  });
}
