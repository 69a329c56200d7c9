/** The colour scale beside a map: what the colours mean, with numbers. */

import { element } from "./dom.js";
import { figure } from "./numbers.js";

/** @param {number[][]} colours */
function strip(colours) {
  const canvas = element("canvas", { width: colours.length, height: 1, class: "strip", "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  colours.forEach(([red, green, blue], at) => {
    context.fillStyle = `rgb(${red} ${green} ${blue})`;
    context.fillRect(at, 0, 1, 1);
  });
  return canvas;
}

/**
 * @param {{signed: boolean, signs: string[], scale_said: string}} result
 * @param {number} strongest  where the scale ends
 * @param {{signed: number[][], unsigned: number[][]}} colours
 */
export function legend(result, strongest, colours) {
  const { signed } = result;
  const [below, above] = signed ? result.signs : ["none", "most attention"];
  const ends = signed ? [figure(-strongest), "0", figure(strongest, true)] : ["0", figure(strongest)];
  return element(
    "div",
    { class: "legend", role: "img", "aria-label": `Colour scale from ${ends[0]}, ${below}, to ${ends.at(-1)}, ${above}` },
    element("div", { class: "ends" }, element("span", {}, below), element("span", {}, above)),
    strip(signed ? colours.signed : colours.unsigned),
    element("div", { class: "ends numbers" }, ends.map((end) => element("span", {}, end))),
    result.scale_said && element("p", { class: "quiet" }, `Fine map: ${result.scale_said.replace("\n", "; ")}.`),
  );
}
