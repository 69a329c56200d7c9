/** Photos and results as pixels: loaded once, drawn on canvases of at most `LONGEST` pixels. */

import { photoAddress } from "./api.js";
import { floats } from "./numbers.js";
import { boxOn, enlarged, layMap, layRanks } from "./overlay.js";

const LONGEST = 640;
const loaded = /** @type {Map<string, Promise<HTMLImageElement>>} */ (new Map());
const decoded = /** @type {WeakMap<any, any>} */ (new WeakMap());

/** @param {string} id @returns {Promise<HTMLImageElement>} */
export function pictureOf(id) {
  if (!loaded.has(id)) {
    const image = new Image();
    image.src = photoAddress(id, 2 * LONGEST);
    const ready = image.decode().then(() => image);
    ready.catch(() => loaded.delete(id));
    loaded.set(id, ready);
  }
  return /** @type {Promise<HTMLImageElement>} */ (loaded.get(id));
}

/** A map as it came, with numbers instead of base64.
 * @param {any} result  of an explain job */
export function numbersOf(result) {
  if (!decoded.has(result)) {
    const size = result.grid[0] * result.grid[1];
    const all = result.ranks ? floats(result.ranks.maps) : new Float32Array(0);
    const ranks = Array.from({ length: all.length / size }, (_, rank) => all.subarray(rank * size, (rank + 1) * size));
    decoded.set(result, { values: floats(result.values), ranks });
  }
  return decoded.get(result);
}

/** Width and height of the canvas over a photo.
 * @param {{width: number, height: number}} photo */
export function sizeOf({ width, height }) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** Draw a photo alone.
 * @param {HTMLCanvasElement} canvas @param {HTMLImageElement} picture */
export function drawPicture(canvas, picture) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return context;
}

/**
 * Draw a result over its photo.
 *
 * @param {HTMLCanvasElement} canvas @param {HTMLImageElement} picture @param {any} result
 * @param {{colours: import("./overlay.js").Colours, strongest: number, cells: boolean, ranks: number[]|null}} how
 *     `ranks`: those to draw instead of the map
 */
export function drawResult(canvas, picture, result, { colours, strongest, cells, ranks }) {
  const { width, height } = canvas;
  const context = drawPicture(canvas, picture);
  const image = context.getImageData(0, 0, width, height);
  const numbers = numbersOf(result);
  const atSize = (/** @type {Float32Array} */ values, sharp = cells) =>
    enlarged({ values, grid: result.grid }, boxOn(result.frame, canvas), width, height, sharp);
  if (ranks) {
    const most = Math.max(1e-12, ...numbers.ranks.filter((_, rank) => result.ranks.valid[rank]).map((map) => map.reduce((a, b) => Math.max(a, b), 0)));
    layRanks(image, ranks.map((rank) => atSize(numbers.ranks[rank], true)), ranks.map((rank) => colours.ranks[rank]), most);
  } else {
    layMap(image, atSize(numbers.values), strongest, result.signed, result.signed ? colours.signed : colours.unsigned);
  }
  context.putImageData(image, 0, 0);
}
