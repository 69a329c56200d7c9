/**
 * What the state asks for: pure functions of it. A body of a job is what decides whether something new must be computed.
 *
 * @typedef {import("./store.js").State} State
 * @typedef {import("./api.js").Target} Target
 */

import { isUnderWay } from "./jobs.js";
import { OWN } from "./store.js";

const CLASSES = 8;
const STEPS = 16;
const MOST_SIDE = 32;
const GRID = [14, 14];

/** @param {State} state @returns {import("./api.js").Photo[]} */
export const photosOf = (state) => [...state.own, ...(state.about?.samples ?? [])];

/** @param {State} state */
export const photoOf = (state) => photosOf(state).find((photo) => photo.id === state.photo) ?? null;

/** A link to a photo of a person's own, which is not here.
 * @param {State} state */
export const isPhotoWanted = (state) => state.photo === OWN || (Boolean(state.photo) && !photoOf(state));

/** @param {State} state */
export const classifierOf = (state) =>
  state.about?.classifiers.find((each) => each.name === state.classifier) ?? state.about?.classifiers[0] ?? null;

/** The method chosen, or the best one where the classifier has no such.
 * @param {State} state @returns {import("./api.js").Method|null} */
export function methodOf(state) {
  const methods = classifierOf(state)?.methods ?? [];
  return methods.find((each) => each.name === state.method) ?? methods.find((each) => each.best) ?? methods[0] ?? null;
}

/** "class:497", "difference:497:566", "concept:ID", "conceptdifference:ID:ID" → a target; else the likeliest class.
 * @param {State} state @returns {Target|null} */
export function targetOf(state) {
  const [kind, first, second] = state.target.split(":");
  const concepts = state.concepts.map((each) => each.id);
  if (kind === "class" && /^\d+$/.test(first)) return { kind, index: Number(first) };
  if (kind === "difference" && /^\d+$/.test(first) && /^\d+$/.test(second)) {
    return { kind, first: Number(first), second: Number(second) };
  }
  if (kind === "concept" && concepts.includes(first)) return { kind, concept: first };
  if (kind === "conceptdifference" && concepts.includes(first) && concepts.includes(second)) {
    return { kind: "concept difference", first, second };
  }
  const likeliest = state.works.classes?.result?.classes[0];
  return likeliest ? { kind: "class", index: likeliest.index } : null;
}

/** @param {State} state @param {number} index */
export const labelOf = (state, index) => state.labels[`${classifierOf(state)?.name} ${index}`] ?? `class ${index}`;

/** @param {State} state @param {Target|null} target */
export function targetName(state, target) {
  if (!target) return "";
  const concept = (/** @type {string} */ id) => state.concepts.find((each) => each.id === id)?.name ?? "a concept";
  if (target.kind === "class" || target.kind === "probability") return labelOf(state, target.index);
  if (target.kind === "difference") return `${labelOf(state, target.first)} rather than ${labelOf(state, target.second)}`;
  if (target.kind === "predicted") return "the likeliest class";
  if (target.kind === "concept") return concept(target.concept);
  return `${concept(target.first)} rather than ${concept(target.second)}`;
}

/** The class that bars, curve and patches speak of; none for a concept.
 * @param {State} state */
export function indexOf(state) {
  const target = targetOf(state);
  return target?.kind === "class" || target?.kind === "probability" ? target.index : target?.kind === "difference" ? target.first : null;
}

/** @param {State} state */
export function classesBody(state) {
  const [photo, classifier] = [photoOf(state), classifierOf(state)];
  return photo && classifier ? { kind: "classify", classifier: classifier.name, photo: photo.id, count: CLASSES } : null;
}

/** @param {State} state */
export function mapBody(state) {
  const [photo, classifier, method, target] = [photoOf(state), classifierOf(state), methodOf(state), targetOf(state)];
  if (!photo || !classifier || !method || !target) return null;
  return { kind: "explain", classifier: classifier.name, photo: photo.id, method: method.name, settings: {}, target };
}

/** How parts are taken away: dropping tokens only where the network can do without.
 * @param {State} state */
export function removalOf(state) {
  return state.removal === "tokens" && !classifierOf(state)?.can_drop_tokens ? "mean" : state.removal;
}

/** @param {State} state */
export function curveBody(state) {
  const body = mapBody(state);
  if (!body || state.tab !== "question" || state.questioned !== "relevance" || state.works.map?.status !== "done") return null;
  return { ...body, kind: "curve", removal: removalOf(state), steps: STEPS };
}

/** Cells that a person can switch off: the map's, where they are large enough to be hit.
 * @param {State} state @returns {[number, number]} */
export function gridOf(state) {
  const map = state.works.map?.result;
  const [rows, columns] = map && !map.drawn && Math.max(...map.grid) <= MOST_SIDE ? map.grid : GRID;
  return [rows, columns];
}

/** Cells that are switched off; a link may name some that the map has not.
 * @param {State} state */
export function offOf(state) {
  const [rows, columns] = gridOf(state);
  return state.off.filter((cell) => cell < rows * columns);
}

/** Asked once the map is there, whose cells they are.
 * @param {State} state */
export function withoutBody(state) {
  const classes = state.works.classes?.result?.classes;
  const [body, off, map] = [mapBody(state), offOf(state), state.works.map];
  if (!body || !classes || !off.length || state.tab !== "question" || state.questioned !== "patches") return null;
  if (!map || (isUnderWay(map) && map.status !== "asking")) return null;
  const index = indexOf(state);
  const indices = [...new Set([...(index === null ? [] : [index]), ...classes.map((each) => each.index)])];
  const { classifier, photo } = body;
  return { kind: "without", classifier, photo, grid: gridOf(state), removed: off, removal: removalOf(state), indices };
}
