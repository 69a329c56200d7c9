/** What lies over the map: parts that are taken away, the grid of patches, and the patch that is read. */

import { boxOn } from "./overlay.js";

const BLURRED = 12;
const GREY = [118, 118, 118];

/** The rectangle of a cell, on whole pixels so that neighbours leave no seam.
 * @param {number[]} box @param {number[]} grid @param {number} row @param {number} column */
function rectangle([left, top, right, bottom], [rows, columns], row, column) {
  const x = (/** @type {number} */ at) => Math.round(left + ((right - left) * at) / columns);
  const y = (/** @type {number} */ at) => Math.round(top + ((bottom - top) * at) / rows);
  return [x(column), y(row), x(column + 1) - x(column), y(row + 1) - y(row)];
}

/** A photo so small that it is blurred when it is enlarged. @param {HTMLImageElement} picture */
function blurred(picture) {
  const small = document.createElement("canvas");
  Object.assign(small, { width: BLURRED, height: BLURRED });
  small.getContext("2d")?.drawImage(picture, 0, 0, BLURRED, BLURRED);
  return small;
}

/** Dropped tokens leave nothing: a fine pattern, which no photo has. */
function nothing(/** @type {CanvasRenderingContext2D} */ context) {
  const tile = document.createElement("canvas");
  Object.assign(tile, { width: 8, height: 8 });
  const pen = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  pen.fillStyle = "#e4e2dd";
  pen.fillRect(0, 0, 8, 8);
  pen.fillStyle = "#c9c6bf";
  pen.fillRect(0, 0, 4, 4);
  pen.fillRect(4, 4, 4, 4);
  return /** @type {CanvasPattern} */ (context.createPattern(tile, "repeat"));
}

/**
 * @param {CanvasRenderingContext2D} context @param {HTMLImageElement} picture @param {import("./api.js").Frame} frame
 * @param {number[]} grid @param {number[]} cells @param {{removal: string, colour: number[]|null}} how
 */
export function drawRemoved(context, picture, frame, grid, cells, { removal, colour }) {
  const box = boxOn(frame, context.canvas);
  const gone = new Path2D();
  for (const cell of cells) {
    const [x, y, width, height] = rectangle(box, grid, Math.floor(cell / grid[1]), cell % grid[1]);
    gone.rect(x, y, width, height);
  }
  context.save();
  context.clip(gone);
  if (removal === "blur") {
    context.imageSmoothingQuality = "high";
    context.drawImage(blurred(picture), 0, 0, context.canvas.width, context.canvas.height);
  } else {
    context.fillStyle = removal === "tokens" ? nothing(context) : removal === "black" ? "black" : `rgb(${(colour ?? GREY).join(" ")})`;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  }
  context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context @param {import("./api.js").Frame} frame @param {number[]} grid
 * @param {{row: number, column: number}|null} cell  the one that is read @param {boolean} all  whether to draw the grid
 */
export function outline(context, frame, grid, cell, all) {
  const box = boxOn(frame, context.canvas);
  if (all) {
    context.strokeStyle = "rgb(255 255 255 / 0.45)";
    context.lineWidth = 1;
    for (let row = 0; row < grid[0]; row++) {
      for (let column = 0; column < grid[1]; column++) {
        const [x, y, width, height] = rectangle(box, grid, row, column);
        context.strokeRect(x + 0.5, y + 0.5, width, height);
      }
    }
  }
  if (!cell) return;
  const [x, y, width, height] = rectangle(box, grid, cell.row, cell.column);
  for (const [colour, line] of /** @type {[string, number][]} */ ([["black", 4], ["white", 2]])) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(x, y, width, height);
  }
}
