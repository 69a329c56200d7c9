/** Which cells the state takes away, and what the curve says there: pure functions.  */

import { gridOf, removalOf } from "./asked.js";
import { integers } from "./numbers.js";

/** Single patches are being switched.
 * @param {import("./store.js").State} state */
export const isPartOff = (state) => state.tab === "question" && state.questioned === "patches";

/** What is left at a step of the slider, when the map's order or a random one has taken as much away.
 * @param {any} curve @param {number} step @param {string} order  "most" or "least" relevant first */
export const valuesAt = (curve, step, order) => ({
  ranked: curve[order === "least" ? "least_first" : "deletion"][step],
  random: curve.random_deletion[step],
});

/** @param {import("./store.js").State} state @returns {{cells: number[], grid: number[], how: {removal: string, colour: number[]|null}}} */
export function removedCells(state) {
  const curve = state.works.curve?.result;
  const how = { removal: removalOf(state), colour: curve?.fill_colour ?? null };
  if (isPartOff(state)) return { cells: state.off, grid: gridOf(state), how };
  if (state.tab !== "question" || !curve || !state.step) return { cells: [], grid: [1, 1], how };
  const gone = curve.removed[Math.min(state.step, curve.removed.length - 1)];
  const isGone = state.order === "least" ? (rank) => rank >= curve.places - gone : (rank) => rank < gone;
  return { cells: [...integers(curve.rank)].flatMap((rank, cell) => (isGone(rank) ? [cell] : [])), grid: curve.grid, how };
}
