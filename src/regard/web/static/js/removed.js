/** Which cells the state takes away, and what the curve says there: pure functions.  */

import { gridOf, offOf, removalOf } from "./asked.js";
import { integers } from "./numbers.js";

/** Single patches are being switched.
 * @param {import("./store.js").State} state */
export const isPartOff = (state) => state.tab === "question" && state.questioned === "patches";

/** What is left at a step of the slider, when the map's order has taken as much away, or random ones have: their mean,
 * and the lowest and highest of them.
 * @param {any} curve @param {number} step @param {string} order  "most" or "least" relevant first */
export function valuesAt(curve, step, order) {
  const random = curve.random_deletion[step];
  const [low, high] = curve.random_deletion_band[step];
  return { ranked: curve[order === "least" ? "least_first" : "deletion"][step], random, low, high };
}

/** Whether a step speaks for the map: 1 where its order leaves less than every random one (or more, where what matters
 * least goes first), −1 where it is the other way round, 0 where it lies among them.
 * @param {any} curve @param {number} step @param {string} order */
export function outcomeAt(curve, step, order) {
  const { ranked, low, high } = valuesAt(curve, step, order);
  const side = ranked < low ? 1 : ranked > high ? -1 : 0;
  return order === "least" ? -side : side;
}

/** @param {import("./store.js").State} state @returns {{cells: number[], grid: number[], how: {removal: string, colour: number[]|null}}} */
export function removedCells(state) {
  const curve = state.works.curve?.result;
  const how = { removal: removalOf(state), colour: curve?.fill_colour ?? null };
  if (isPartOff(state)) return { cells: offOf(state), grid: gridOf(state), how };
  if (state.tab !== "question" || !curve || !state.step) return { cells: [], grid: [1, 1], how };
  const gone = curve.removed[Math.min(state.step, curve.removed.length - 1)];
  const isGone = state.order === "least" ? (rank) => rank >= curve.places - gone : (rank) => rank < gone;
  return { cells: [...integers(curve.rank)].flatMap((rank, cell) => (isGone(rank) ? [cell] : [])), grid: curve.grid, how };
}
