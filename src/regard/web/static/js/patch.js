/** What is on the page becomes what should be there, with as little change as that needs. */

import { GIVEN, LISTENERS } from "./dom.js";

const keyOf = (/** @type {any} */ node) => node.getAttribute?.("data-key") ?? null;

/** Whether one node can become the other: of one kind, and of one key where they have any. A canvas holds a drawing,
 * which no attribute shows, so it is never kept. */
const isAlike = (/** @type {any} */ one, /** @type {any} */ other) =>
  one === other || (one.nodeName === other.nodeName && one.nodeName !== "CANVAS" && keyOf(one) === keyOf(other));

/** @param {any} kept @param {any} next */
function become(kept, next) {
  if (kept === next) return;
  if (kept.nodeType === Node.TEXT_NODE) {
    if (kept.data !== next.data) kept.data = next.data;
    return;
  }
  for (const { name } of [...kept.attributes]) if (name !== "style" && !next.hasAttribute(name)) kept.removeAttribute(name);
  for (const { name, value } of next.attributes) if (name !== "style" && kept.getAttribute(name) !== value) kept.setAttribute(name, value);
  if (kept.style.cssText !== next.style.cssText) kept.style.cssText = next.style.cssText;
  kept[LISTENERS] = next[LISTENERS];
  patch(kept, [...next.childNodes]);
  for (const name of Object.keys(next[GIVEN] ?? {})) if (kept[name] !== next[name]) kept[name] = next[name];
}

/** @param {Element} parent @param {any[]} children */
export function patch(parent, children) {
  const left = [...parent.childNodes];
  const placed = children.map((child) => {
    const at = left.findIndex((node) => isAlike(node, child));
    if (at < 0) return child;
    const [kept] = left.splice(at, 1);
    become(kept, child);
    return kept;
  });
  for (const node of left) node.remove();
  placed.forEach((node, at) => {
    if (parent.childNodes[at] !== node) parent.insertBefore(node, parent.childNodes[at] ?? null);
  });
}
