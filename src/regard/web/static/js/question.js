/** "Question the map": does the answer really hang on what the map shows? By its order, or patch by patch. */

import { classifierOf, mapBody, offOf, removalOf, targetName, targetOf } from "./asked.js";
import { curveOf, valueInWords } from "./curve.js";
import { button, choice, element, fill } from "./dom.js";
import { counted, percent } from "./numbers.js";
import { progress } from "./progress.js";
import { isPartOff, outcomeAt, valuesAt } from "./removed.js";

const REMOVALS = [
  ["mean", "Its mean colour"],
  ["black", "Black"],
  ["blur", "Blur"],
  ["tokens", "Nothing (tokens are dropped)"],
];

/** A choice between two, as buttons.
 * @param {string} name @param {[string, string][]} options @param {string} chosen @param {(value: string) => void} choose */
function either(name, options, chosen, choose) {
  return element("div", { class: "either", role: "group", "aria-label": name },
    options.map(([value, label]) => button(label, () => choose(value), { "aria-pressed": String(value === chosen), "data-key": `${name} ${value}` })));
}

/** @param {any} curve @param {import("./store.js").State} state @param {number} step */
function values(curve, state, step) {
  const { ranked, random, low, high } = valuesAt(curve, step, state.order);
  const words = (/** @type {any} */ value) => valueInWords(curve, value);
  const entry = (/** @type {string} */ kind, /** @type {string} */ name, /** @type {string} */ value) =>
    element("div", { class: `entry ${kind}` }, element("dt", {}, name), element("dd", {}, value));
  return element("dl", { class: "values" },
    entry("ranked", `${state.order === "most" ? "Most" : "Least"} relevant first`, words(ranked)),
    entry("random", `At random${high > low ? `: ${words(low)} to ${words(high)}, mean` : ""}`, words(random)),
    entry("other", `${state.order === "most" ? "Least" : "Most"} relevant first`, words(valuesAt(curve, step, state.order === "most" ? "least" : "most").ranked)),
    entry("clean", "Nothing removed", words(curve.clean)));
}

/** Is the map better than chance at this step, and at how many others?
 * @param {any} curve @param {string} order @param {number} step */
function verdict(curve, order, step) {
  if (!step) return "Move the slider: the picture loses what the map says matters, and the curve shows what the classifier still answers.";
  const steps = curve.removed.slice(1, -1).map((_, at) => outcomeAt(curve, at + 1, order));
  const outcome = outcomeAt(curve, step, order);
  const times = `So it is at ${steps.filter((each) => each === outcome).length} of ${counted(steps.length, "step")}.`;
  if (!outcome) return `Here the map’s order lies among ${counted(curve.random_orders, "random order")}: no better than chance. ${times}`;
  const than = `than in ${curve.random_orders > 1 ? `all ${curve.random_orders} random orders` : "a random order"}`;
  const said = {
    most: [`Without these parts more is left ${than}: worse than chance. Holes can harm by themselves; try another fill.`, `Without these parts less is left ${than}: the map points at what the answer hangs on.`],
    least: [`Without these parts less is left ${than}: the map calls irrelevant what the answer hangs on, or the fill itself misleads; try another.`, `Without these parts more is left ${than}: the answer does not hang on them, as the map says.`],
  };
  return `${said[order === "least" ? "least" : "most"][outcome > 0 ? 1 : 0]} ${times}`;
}

/** @param {HTMLElement} root @param {import("./store.js").Store} page @param {import("./desk.js").Desk} jobs */
export function question(root, page, jobs) {
  const top = element("div", { class: "stack" });
  const slider = element("input", { type: "range", min: 0, value: 0, step: 1, id: "removed", oninput: () => page.set({ step: Number(slider.value) }) });
  const sliderWords = element("output", { for: "removed" });
  const sliderField = element("label", { class: "field", for: "removed" }, element("span", {}, "Removed: ", sliderWords), slider);
  const below = element("div", { class: "stack" });
  root.append(element("h2", { class: "unseen" }, "Question the map"), top, sliderField, below);

  page.subscribe((state) => {
    if (state.tab !== "question") return;
    const curve = state.works.curve?.result;
    const parts = isPartOff(state);
    const canDrop = classifierOf(state)?.can_drop_tokens;
    fill(top,
      either("How to question", [["relevance", "By relevance"], ["patches", "Patch by patch"]], state.questioned, (questioned) => page.set({ questioned })),
      !parts && either("Which parts first", [["most", "Most relevant first"], ["least", "Least relevant first"]], state.order, (order) => page.set({ order })),
      choice("What takes their place", REMOVALS.map(([value, label]) => ({ value, label, disabled: value === "tokens" && !canDrop })), removalOf(state), (removal) => page.set({ removal })));
    sliderField.hidden = parts || !curve;
    if (!mapBody(state)) return fill(below, element("p", { class: "quiet" }, "Choose a photo first; the map of its likeliest class is questioned."));
    if (parts) {
      return fill(below,
        element("p", {}, offOf(state).length ? `${counted(offOf(state).length, "patch", "patches")} off. The bars show what that changed.` : "Click patches of the photo, or drag over them: the bars above show at once what the classifier answers without them."),
        state.off.length > 0 && button("All on again", () => page.set({ off: [] })));
    }
    if (!curve) return fill(below, progress(state.works.curve, { what: "Taking the picture away step by step", key: "curve", cancel: () => jobs.cancel("curve"), again: () => jobs.again("curve") }));
    const last = curve.removed.length - 1;
    const step = Math.min(state.step, last);
    slider.max = String(last);
    slider.value = String(step);
    const gone = percent(curve.removed[step] / curve.places);
    sliderWords.textContent = gone;
    slider.setAttribute("aria-valuetext", `${gone} removed, ${valueInWords(curve, valuesAt(curve, step, state.order).ranked)} left`);
    return fill(below, element("p", { class: "quiet" }, `${curve.quantity === "probability" ? "Probability" : "Score"} of ${targetName(state, targetOf(state))}`),
      curveOf(curve, step, state.order), values(curve, state, step), element("p", { class: "verdict" }, verdict(curve, state.order, step)));
  });
}
