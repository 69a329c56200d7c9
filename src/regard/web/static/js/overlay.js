/**
 * A map over a photo, with the colours and the formula of `regard.drawing`: the photo turns grey, and the colour of
 * evidence covers it by 0.85 · (|value| / strongest)^0.75. What the classifier did not see is pale.
 *
 * @typedef {{values: Float32Array, grid: number[]}} Cells
 * @typedef {{signed: number[][], unsigned: number[][], ranks: number[][]}} Colours
 * @typedef {[number, number, number, number]} Box  left, top, right, bottom, in pixels of the canvas
 */

const STRONGEST_COVER = 0.85;

/** The classifier's frame, in pixels of a canvas.
 * @param {import("./api.js").Frame} frame @param {{width: number, height: number}} canvas @returns {Box} */
export function boxOn(frame, canvas) {
  const [across, down] = [canvas.width / frame.photo[1], canvas.height / frame.photo[0]];
  const [left, top, right, bottom] = frame.box;
  return [left * across, top * down, right * across, bottom * down];
}

/** For each pixel along a side: the two cells it lies between, and the share of the second; null outside.
 * @param {number} pixels @param {number} low @param {number} high @param {number} cells @param {boolean} sharp */
function along(pixels, low, high, cells, sharp) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const place = ((pixel + 0.5 - low) / (high - low)) * cells;
    if (place < 0 || place >= cells) return null;
    if (sharp) return [Math.floor(place), Math.floor(place), 0];
    const from = Math.max(0, place - 0.5);
    const first = Math.min(cells - 1, Math.floor(from));
    return [first, Math.min(cells - 1, first + 1), from - first];
  });
}

/**
 * A map at the size of a canvas, bilinear, or cell by cell; NaN outside the frame.
 *
 * @param {Cells} map @param {Box} box @param {number} width @param {number} height @param {boolean} sharp
 */
export function enlarged({ values, grid: [rows, columns] }, [left, top, right, bottom], width, height, sharp) {
  const all = new Float32Array(width * height).fill(NaN);
  const xs = along(width, left, right, columns, sharp);
  along(height, top, bottom, rows, sharp).forEach((vertical, y) => {
    if (!vertical) return;
    const [above, below, down] = vertical;
    for (let x = 0; x < width; x++) {
      if (!xs[x]) continue;
      const [before, after, across] = xs[x];
      const upper = values[above * columns + before] * (1 - across) + values[above * columns + after] * across;
      const lower = values[below * columns + before] * (1 - across) + values[below * columns + after] * across;
      all[y * width + x] = upper * (1 - down) + lower * down;
    }
  });
  return all;
}

/** @param {number} value @param {number} strongest @param {boolean} signed @param {number[][]} colours */
export function colourOf(value, strongest, signed, colours) {
  const share = signed ? (value / strongest + 1) / 2 : value / strongest;
  return colours[Math.min(255, Math.max(0, Math.floor(share * 256)))];
}

/**
 * @param {ImageData} image  the photo, changed in place
 * @param {(pixel: number) => {colour: number[], strength: number}|null} evidence  null where nothing was seen
 */
function cover(image, evidence) {
  const { data } = image;
  for (let at = 0; at < data.length; at += 4) {
    const found = evidence(at / 4);
    const mean = (data[at] + data[at + 1] + data[at + 2]) / 3;
    const share = found ? STRONGEST_COVER * Math.min(1, found.strength) ** 0.75 : 0;
    for (let channel = 0; channel < 3; channel++) {
      const own = data[at + channel];
      const grey = mean * 0.75 + own * 0.25;
      data[at + channel] = found ? grey * (1 - share) + found.colour[channel] * share : own * 0.25 + 191;
    }
  }
}

/** @param {ImageData} image @param {Float32Array} values @param {number} strongest @param {boolean} signed @param {number[][]} colours */
export function layMap(image, values, strongest, signed, colours) {
  cover(image, (pixel) => {
    const value = values[pixel];
    return Number.isNaN(value) ? null : { colour: colourOf(value, strongest, signed, colours), strength: Math.abs(value) / strongest };
  });
}

/** Ranked maps, each in its colour; where they overlap their colours add up, as light does.
 * @param {ImageData} image @param {Float32Array[]} maps @param {number[][]} colours @param {number} strongest */
export function layRanks(image, maps, colours, strongest) {
  cover(image, (pixel) => {
    const light = [0, 0, 0];
    let strength = 0;
    for (let rank = 0; rank < maps.length; rank++) {
      if (Number.isNaN(maps[rank][pixel])) return null;
      const part = Math.min(1, Math.max(0, maps[rank][pixel] / strongest));
      strength = Math.max(strength, part);
      for (let channel = 0; channel < 3; channel++) light[channel] += part * colours[rank][channel];
    }
    const brightest = Math.max(...light) || 1;
    return { colour: light.map((part) => (255 * part) / brightest), strength };
  });
}
