/** A mosaic of points in the plane, drawn with its attention. */

import { drawn, element } from "./dom.js";
import { percent } from "./numbers.js";

const SIDE = 120;
const MARGIN = 14;
const [LEAST, MOST] = [2, 11];
const HARDLY = 0.02;

/** The part of the plane that all mosaics fill: [left, right, low, high].
 * @param {{segments: number[][]}[]} mosaics */
export function plane(mosaics) {
  const [xs, ys] = [0, 1].map((axis) => mosaics.flatMap((each) => each.segments.map((segment) => segment[axis] ?? 0)));
  return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
}

/**
 * @param {{segments: number[][], weights: number[], position: number, label: string, predicted: string, outcome: string}} one
 * @param {number[]} span  from `plane`
 */
export function mosaic({ segments, weights, position, label, predicted, outcome }, [left, right, low, high]) {
  const x = (/** @type {number[]} */ segment) => MARGIN + ((segment[0] - left) / (right - left || 1)) * (SIDE - 2 * MARGIN);
  const y = (/** @type {number[]} */ segment) => SIDE - MARGIN - (((segment[1] ?? 0) - low) / (high - low || 1)) * (SIDE - 2 * MARGIN);
  const strongest = weights.indexOf(Math.max(...weights));
  const name = `The foreground has ${percent(weights[position])} of the attention; piece ${strongest + 1} has most. Answer ${predicted}, truth ${label}.`;
  const isRight = String(predicted) === String(label);
  return element("figure", { class: `mosaic ${outcome}` },
    drawn("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": name },
      segments.map((segment, at) => weights[at] < HARDLY
        ? drawn("path", { class: "hardly", d: `M${x(segment) - 2.5} ${y(segment) - 2.5}l5 5m0 -5l-5 5` })
        : drawn("circle", { class: "piece", cx: x(segment), cy: y(segment), r: LEAST + (MOST - LEAST) * Math.sqrt(weights[at]) })),
      drawn("circle", { class: "truth", cx: x(segments[position]), cy: y(segments[position]), r: MOST + 1.5 })),
    element("figcaption", {}, element("span", {}, `${isRight ? "✓" : "✗"} ${predicted}`), element("span", { class: "quiet" }, outcome)));
}
