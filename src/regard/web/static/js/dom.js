/**
 * Elements from JavaScript. Text is only ever text: what a server, a label or a file name says is never read as HTML,
 * and no style attribute is written (the Content-Security-Policy forbids both).
 */

import { patch } from "./patch.js";

const SVG = "http://www.w3.org/2000/svg";
/** What an element was given: its listeners, always asked anew, and its properties. */
export const LISTENERS = Symbol("listeners");
export const GIVEN = Symbol("given");

/**
 * @param {any} node
 * @param {Record<string, any>} all  functions `on…` are listeners, `class` and names with a dash are attributes, the
 *     rest properties; null, undefined and false attributes are left out
 */
function give(node, all) {
  node[LISTENERS] = {};
  node[GIVEN] = {};
  for (const [name, value] of Object.entries(all)) {
    if (typeof value === "function") {
      node[LISTENERS][name] = value;
      node.addEventListener(name.slice(2), (/** @type {Event} */ event) => node[LISTENERS][name]?.(event));
    } else if (node.namespaceURI !== SVG && name in node && !name.includes("-")) {
      node[name] = node[GIVEN][name] = value;
    } else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, String(value));
  }
  return node;
}

/** @param {any[]} children @returns {(Node|string)[]} */
const there = (children) => children.flat(2).filter((child) => child !== null && child !== undefined && child !== false && child !== "");

/**
 * @param {string} tag
 * @param {Record<string, any>} [all]
 * @param {...any} children  nodes, texts, arrays of them; what is null or false is left out
 * @returns {any} an HTML element
 */
export function element(tag, all = {}, ...children) {
  const node = give(document.createElement(tag), all);
  node.append(...there(children));
  return node;
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [all]
 * @param {...any} children
 * @returns {any} an SVG element
 */
export function drawn(tag, all = {}, ...children) {
  const node = give(document.createElementNS(SVG, tag), all);
  node.append(...there(children));
  return node;
}

/**
 * Make what is in a node what it should be. Elements that stay are kept, so that focus, an open list and a click under
 * way outlast whatever else happens on the page.
 *
 * @param {Element} node
 * @param {...any} children
 */
export function fill(node, ...children) {
  patch(node, there(children).map((child) => (typeof child === "string" ? document.createTextNode(child) : child)));
}

/**
 * @param {string} words
 * @param {(event: Event) => void} onclick
 * @param {Record<string, any>} [all]
 */
export function button(words, onclick, all = {}) {
  return element("button", { type: "button", onclick, "data-key": words, ...all }, words);
}

/**
 * A select with its words before it.
 *
 * @param {string} words
 * @param {{value: string, label: string, disabled?: boolean}[]} options
 * @param {string} chosen
 * @param {(value: string) => void} choose
 */
export function choice(words, options, chosen, choose) {
  const items = options.map(({ value, label, disabled = false }) =>
    element("option", { value, disabled, selected: value === chosen }, label),
  );
  const select = element("select", { onchange: (event) => choose(event.target.value) }, items);
  return element("label", { class: "field" }, element("span", {}, words), select);
}
