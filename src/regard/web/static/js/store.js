/**
 * The state of the page, and the part of it that the address holds. Data flow one way: `set` → subscribers render.
 *
 * @typedef {import("./api.js").Photo} Photo
 * @typedef {import("./jobs.js").Work} Work
 * @typedef {ReturnType<typeof beginning>} State
 * @typedef {{get: () => State, set: (news: Partial<State>) => void,
 *     subscribe: (listener: (state: State) => void) => void}} Store
 */

/** In the address; the first four also make an entry in the browser's history. */
const IN_ADDRESS = ["classifier", "photo", "method", "target", "opacity", "cells", "held", "tab", "questioned", "removal", "order", "step", "off", "hidden", "exam"];
const STEPS = 4;
const numbers = (/** @type {string} */ text) => [...new Set(text.split(",").filter((each) => /^\d{1,4}$/.test(each)).map(Number))];
/** How that is read which is no text. @type {Record<string, (text: string) => any>} */
const READ = { held: (text) => (Number(text) > 0 && Number(text) < Infinity ? Number(text) : null), step: (text) => numbers(text)[0] ?? 0, off: numbers, hidden: numbers };
/** How a link says that its photo was a person's own, which no link can hold. */
export const OWN = "own";

/** Words in the address have no spaces, so that it can be pasted into a letter. */
export const beginning = () => ({
  about: /** @type {any} */ (null),
  classifier: "",
  photo: "",
  method: "",
  target: "",
  opacity: "1",
  cells: "",
  tab: "map",
  questioned: "relevance",
  removal: "mean",
  order: "most",
  own: /** @type {Photo[]} */ ([]),
  refused: "",
  uploading: 0,
  works: /** @type {Record<string, Work>} */ ({}),
  labels: /** @type {Record<string, string>} */ ({}),
  held: /** @type {number|null} */ (null),
  step: 0,
  off: /** @type {number[]} */ ([]),
  hidden: /** @type {number[]} */ ([]),
  concepts: /** @type {{id: string, name: string, classifier: string, similarity: number[]}[]} */ ([]),
  cards: /** @type {{key: string, body: any}[]} */ ([]),
  /** Cards that a link asks for, before they are made. */
  linked: /** @type {string[]} */ ([]),
  exam: "",
});

const given = (/** @type {string} */ fragment) => new URLSearchParams(fragment.replace(/^#/, ""));

/** @param {string} fragment @returns {Partial<State>} */
export function readAddress(fragment) {
  const said = given(fragment);
  return Object.fromEntries(IN_ADDRESS.filter((key) => said.has(key)).map((key) => [key, (READ[key] ?? String)(said.get(key) ?? "")]));
}

/** The cards that an address holds. @param {string} fragment */
export const readCards = (fragment) => given(fragment).getAll("card");

/** A target as the address has it; "" for the likeliest class. @param {import("./api.js").Target} target */
export function addressed(target) {
  if (target.kind === "predicted") return "";
  if (target.kind === "difference") return `difference:${target.first}:${target.second}`;
  if (target.kind === "concept") return `concept:${target.concept}`;
  if (target.kind === "concept difference") return `conceptdifference:${target.first}:${target.second}`;
  return `class:${target.index}`;
}

/** A card as the address has it; null where it is of what only this visit has. @param {any} body */
function cardSaid({ photo, classifier, method, target }) {
  const asked = addressed(target);
  return photo.startsWith("sample:") && !asked.startsWith("concept") ? [photo, classifier, method, asked].join("*") : null;
}

/** What the address says of a state: all that was chosen, but for concepts, which only this visit has, and photos of a
 * person's own.
 * @param {State} state @returns {string} */
export function address(state) {
  const usual = /** @type {any} */ (beginning());
  const said = new URLSearchParams();
  for (const key of IN_ADDRESS) {
    let value = String(/** @type {any} */ (state)[key]);
    if (key === "photo" && value && !value.startsWith("sample:")) value = OWN;
    if (key === "target" && value.startsWith("concept")) value = "";
    if (value !== String(usual[key])) said.set(key, value);
  }
  for (const card of [...state.cards.map(({ body }) => cardSaid(body)), ...state.linked]) if (card) said.append("card", card);
  return `#${said}`.replaceAll("%3A", ":").replaceAll("%2C", ",");
}

/** @returns {Store} */
export function store() {
  const listeners = /** @type {((state: State) => void)[]} */ ([]);
  let state = beginning();
  let telling = false;

  /** A listener may set more: all then hear the newest state, once. */
  function tell() {
    if (telling) return;
    telling = true;
    queueMicrotask(() => {
      telling = false;
      for (const listener of listeners) listener(state);
    });
  }

  return {
    get: () => state,
    set(news) {
      state = { ...state, ...news };
      tell();
    },
    subscribe: (listener) => void listeners.push(listener),
  };
}

/** Keep address and state alike, both ways.
 * @param {Store} page */
export function keepAddress(page) {
  const stepOf = (/** @type {string} */ text) => JSON.stringify(IN_ADDRESS.slice(0, STEPS).map((key) => readAddress(text)[key]));
  page.subscribe((state) => {
    const next = address(state);
    if (!state.about || next === (location.hash || "#")) return;
    history[stepOf(next) === stepOf(location.hash) ? "replaceState" : "pushState"](null, "", next === "#" ? location.pathname : next);
  });
  addEventListener("popstate", () => {
    const { about, own, works, labels, concepts, cards, linked, photo } = page.get();
    const kept = { about, own, works, labels, concepts, cards, linked };
    const said = readAddress(location.hash);
    if (said.photo === OWN && !photo.startsWith("sample:")) said.photo = photo;
    page.set({ ...beginning(), ...kept, ...said });
  });
}
