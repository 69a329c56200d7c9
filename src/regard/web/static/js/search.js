/** A field that searches all classes of a classifier: a combobox, by pointer and by keyboard. */

import { get } from "./api.js";
import { element, fill } from "./dom.js";

const PAUSE = 150;
const LIMIT = 50;
let number = 0;

/**
 * @param {string} words  what the field is for
 * @param {() => string|null} classifier  its name, when asked
 * @param {(found: {index: number, label: string}) => void} choose
 * @returns {HTMLElement}
 */
export function classSearch(words, classifier, choose) {
  const id = `classes-${++number}`;
  let found = /** @type {{index: number, label: string}[]} */ ([]);
  let active = -1;
  let timer = 0;
  let abort = new AbortController();

  const list = element("ul", { id, role: "listbox", class: "found", hidden: true, "aria-label": "Classes found" });
  const said = element("p", { class: "quiet", role: "status" });
  const field = element("input", {
    ...{ type: "search", role: "combobox", autocomplete: "off", placeholder: "church, dog, 497 …" },
    ...{ "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list" },
    oninput: () => (clearTimeout(timer), (timer = window.setTimeout(search, PAUSE))),
    onkeydown: pressed,
    onblur: () => setTimeout(close, PAUSE),
  });

  function close() {
    list.hidden = true;
    active = -1;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function take(/** @type {number} */ at) {
    if (!found[at]) return;
    choose(found[at]);
    field.value = "";
    said.textContent = "";
    close();
  }

  function show() {
    fill(list, found.map((each, at) =>
      element(
        "li",
        { id: `${id}-${at}`, role: "option", "aria-selected": String(at === active), onmousedown: (event) => (event.preventDefault(), take(at)) },
        element("span", {}, each.label), element("span", { class: "quiet" }, String(each.index)))));
    list.hidden = !found.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
    if (active >= 0) field.setAttribute("aria-activedescendant", `${id}-${active}`);
    list.children[active]?.scrollIntoView({ block: "nearest" });
  }

  async function search() {
    abort.abort();
    abort = new AbortController();
    const name = classifier();
    const text = field.value.trim();
    if (!text || !name) return (said.textContent = ""), close();
    try {
      found = await get(`/classifiers/${encodeURIComponent(name)}/classes?search=${encodeURIComponent(text)}&limit=${LIMIT}`, abort.signal);
    } catch (error) {
      if (!abort.signal.aborted) said.textContent = String(error.message);
      return;
    }
    active = found.length ? 0 : -1;
    said.textContent = found.length ? "" : `No class is called “${text}”.`;
    show();
  }

  function pressed(/** @type {KeyboardEvent} */ event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length && !list.hidden) {
      active = (active + step + found.length) % found.length;
      show();
    } else if (event.key === "Enter") take(active);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  }

  return element("div", { class: "search" }, element("label", { class: "field" }, element("span", {}, words), field), list, said);
}
