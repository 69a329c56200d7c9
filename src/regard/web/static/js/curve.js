/** The probability while the picture is taken away: the map's order beside a random one, and where the slider stands. */

import { drawn } from "./dom.js";
import { figure, percent } from "./numbers.js";
import { valuesAt } from "./removed.js";

const [WIDTH, HEIGHT] = [360, 210];
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 12, 12, 34];

/** @param {any} curve @param {number|null} value */
export const valueInWords = (curve, value) => (curve.quantity === "probability" ? percent(value) : figure(value));

/** Places between the lowest and the highest of the random orders, around it.
 * @param {any} curve @param {string} order */
function band(curve, order) {
  const edge = (/** @type {"low"|"high"} */ end) => curve.removed.map((_, step) => [curve.removed[step] / curve.places, valuesAt(curve, step, order)[end]]);
  return [...edge("low"), ...edge("high").reverse()];
}

/** Points of a line, step by step.
 * @param {any} curve @param {string} order @param {"ranked"|"random"} whose */
function line(curve, order, whose) {
  return curve.removed.map((_, step) => [curve.removed[step] / curve.places, valuesAt(curve, step, order)[whose]]);
}

/** From zero to one for probabilities, else as far as the values reach.
 * @param {any} curve */
function span(curve) {
  if (curve.quantity === "probability") return [0, 1];
  const all = [curve.deletion, curve.least_first, curve.random_deletion, curve.random_deletion_band].flat(2).filter(Number.isFinite);
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  return [low, high > low ? high : low + 1];
}

/**
 * @param {any} curve @param {number} step @param {string} order  "most" or "least" relevant first
 * @returns {SVGElement}
 */
export function curveOf(curve, step, order) {
  const [low, high] = span(curve);
  const x = (/** @type {number} */ share) => LEFT + share * (WIDTH - LEFT - RIGHT);
  const y = (/** @type {number} */ value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const path = (/** @type {number[][]} */ points) => points.filter(([, value]) => Number.isFinite(value)).map(([share, value]) => `${x(share).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const words = (/** @type {number} */ at, /** @type {number} */ down, /** @type {string} */ text, anchor = "middle") => drawn("text", { x: at, y: down, "text-anchor": anchor }, text);
  const other = order === "most" ? "least" : "most";
  const gone = curve.removed[step] / curve.places;
  const { ranked, random, low: least, high: most } = valuesAt(curve, step, order);
  const name = `${percent(gone)} removed: ${valueInWords(curve, ranked)}; removed at random: ${valueInWords(curve, random)}, from ${valueInWords(curve, least)} to ${valueInWords(curve, most)}`;
  return drawn(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curve", role: "img", "aria-label": name },
    [low, (low + high) / 2, high].map((value) => drawn("g", { class: "grid" }, drawn("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }), words(LEFT - 6, y(value) + 4, valueInWords(curve, value), "end"))),
    [0, 0.5, 1].map((share) => words(x(share), HEIGHT - 18, percent(share), share === 1 ? "end" : "middle")),
    words(x(0.5), HEIGHT - 3, "of the picture removed"),
    drawn("polygon", { class: "band", points: path(band(curve, order)) }),
    drawn("polyline", { class: "other", points: path(line(curve, other, "ranked")) }),
    drawn("polyline", { class: "random", points: path(line(curve, order, "random")) }),
    drawn("polyline", { class: "ranked", points: path(line(curve, order, "ranked")) }),
    drawn("line", { class: "here", x1: x(gone), x2: x(gone), y1: TOP, y2: HEIGHT - BOTTOM }),
    [["random", random], ["ranked", ranked]].map(([kind, value]) => (Number.isFinite(value) ? drawn("circle", { class: kind, cx: x(gone), cy: y(Number(value)), r: 4.5 }) : "")),
  );
}
