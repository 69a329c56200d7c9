/** Numbers as they travel, and as a person reads them. */

/**
 * @param {string} text  base64 of little-endian 4-byte numbers
 * @returns {ArrayBuffer}
 */
function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

/** @param {string} text @returns {Float32Array} */
export const floats = (text) => new Float32Array(bytes(text));

/** @param {string} text @returns {Int32Array} */
export const integers = (text) => new Int32Array(bytes(text));

/** @param {number|null|undefined} share  of 1 */
export function percent(share) {
  if (share === null || share === undefined || !Number.isFinite(share)) return "–";
  const size = Math.abs(100 * share);
  const digits = size >= 99.95 || size === 0 ? 0 : size >= 0.095 ? 1 : 2;
  return `${(100 * share).toFixed(digits).replace("-", "−")} %`;
}

/** @param {number} change  of a share of 1, in points of per cent */
export function points(change) {
  if (Math.abs(change) < 0.0005) return "±0";
  return `${change > 0 ? "+" : "−"}${Math.abs(100 * change).toFixed(1)}`;
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** 0.00012 → "1.2·10⁻⁴". @param {number} size */
function powers(size) {
  const [first, exponent] = size.toExponential(1).split("e");
  return `${first}·10${exponent.replace("+", "").replace("-", "⁻").replace(/\d/g, (digit) => RAISED[Number(digit)])}`;
}

/** Three figures, a true minus sign, and a plus where the sign matters.
 * @param {number|null|undefined} value @param {boolean} [signed] */
export function figure(value, signed = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  const words = size && (size < 1e-3 || size >= 1e5) ? powers(size) : String(Number(size.toPrecision(3)));
  return `${value < 0 ? "−" : signed && value > 0 ? "+" : ""}${words}`;
}

/** @param {number|null|undefined} value */
export function seconds(value) {
  if (value === null || value === undefined) return "an unknown time";
  if (value < 1) return `${Math.max(1, Math.round(1000 * value))} ms`;
  if (value < 90) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  return `${Math.round(value / 60)} min`;
}

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
