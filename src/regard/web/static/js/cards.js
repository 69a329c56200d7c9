/** Methods, classes, classifiers or photos side by side: each card a job of its own. */

import { classifierOf, mapBody, photosOf, targetName, targetOf } from "./asked.js";
import { button, choice, element, fill } from "./dom.js";
import { legend } from "./legend.js";
import { counted, percent, seconds } from "./numbers.js";
import { drawPicture, drawResult, pictureOf, sizeOf } from "./pictures.js";
import { progress } from "./progress.js";
import { classSearch } from "./search.js";
import { addressed } from "./store.js";

const MOST = 12;
const AT_ONCE = 6;
const FEW_PASSES = 8;
let number = 0;

/** @typedef {import("./store.js").State} State */

/** Bodies of explain jobs that differ from the map on the stage in one thing.
 * @type {Record<string, (state: State, body: any) => any[]>} */
const GROUPS = {
  "Quick methods": (state, body) => classifierOf(state).methods
    .filter((method) => method.passes !== null && method.passes <= FEW_PASSES).slice(0, AT_ONCE).map((method) => ({ ...body, method: method.name })),
  "Likeliest classes": (state, body) => (state.works.classes?.result?.classes ?? []).slice(0, 3).map(({ index }) => ({ ...body, target: { kind: "class", index } })),
  "All classifiers": (state, body) => state.about.classifiers.map((each) => ({
    ...{ ...body, classifier: each.name, target: sameTarget(classifierOf(state), each, body.target) },
    method: (each.methods.find((one) => one.name === body.method) ?? each.methods.find((one) => one.best) ?? each.methods[0])?.name,
  })),
  "Other photos": (state, body) => photosOf(state).slice(0, AT_ONCE).map((photo) => ({ ...body, photo: photo.id })),
};

/** A number names the same class only where there are equally many; elsewhere the likeliest is asked for.
 * @param {any} one @param {any} other @param {any} target */
const sameTarget = (one, other, target) => (one === other || (one.classes === other.classes && "index" in target) ? target : { kind: "predicted", rank: 1 });

/** The scale that a card shares with those of the same method and classifier, so that they can be compared.
 * @param {State} state @param {any} card */
function sharedScale(state, card) {
  const alike = state.cards.filter((each) => each.body.method === card.body.method && each.body.classifier === card.body.classifier);
  return Math.max(1e-12, ...alike.map((each) => state.works[each.key]?.result?.scale[1] ?? 0));
}

/** One card: its elements are made once, and told of every change.
 * @param {import("./store.js").Store} page @param {import("./desk.js").Desk} jobs @param {any} card */
function cardOf(page, jobs, card) {
  const { key, body } = card;
  const title = element("h3", {});
  const beneath = element("p", { class: "quiet" });
  const away = button("×", () => close(), { class: "away" });
  const canvas = element("canvas", { role: "img" });
  const said = element("div", { class: "said" });
  const below = element("div", {});
  const close = () => (jobs.forget(key), page.set({ cards: page.get().cards.filter((each) => each.key !== key) }));
  const open = () => page.set({ photo: body.photo, classifier: body.classifier, method: body.method, target: addressed(body.target), hidden: [], off: [], step: 0 });
  const root = element("li", { class: "card" },
    element("header", {}, element("div", {}, title, beneath), away),
    canvas, said, below);
  let drawn = "";

  async function update(/** @type {State} */ state) {
    const work = state.works[key];
    const result = work?.result;
    const photo = photosOf(state).find((each) => each.id === body.photo);
    title.textContent = result?.target.name ?? targetName({ ...state, classifier: body.classifier }, body.target);
    beneath.textContent = [body.method, body.classifier, body.photo !== state.photo && photo?.name].filter(Boolean).join(" · ");
    away.setAttribute("aria-label", `Take away ${title.textContent}`);
    fill(said, progress(work, { what: "This map", key, cancel: () => jobs.cancel(key), again: () => jobs.again(key) }));
    const strongest = sharedScale(state, card);
    const now = `${work?.id} ${Boolean(result)} ${strongest}`;
    if (now === drawn || !photo) return;
    drawn = now;
    Object.assign(canvas, sizeOf(photo));
    canvas.setAttribute("aria-label", result ? `Map of ${result.target.name} by ${result.method}` : `${photo.alt ?? photo.name}, no map yet`);
    const target = result?.target;
    fill(below, result && legend(result, strongest, state.about.colours),
      result && element("p", { class: "quiet" }, [target.probability !== null && percent(target.probability), counted(result.forwards, "forward"), result.backwards && counted(result.backwards, "backward"), seconds(result.seconds)].filter(Boolean).join(" · ")),
      result && button("Open above", open, { class: "small" }));
    const picture = await pictureOf(photo.id).catch(() => null);
    if (!picture || now !== drawn) return;
    if (result) drawResult(canvas, picture, result, { colours: state.about.colours, strongest, cells: false, ranks: null });
    else drawPicture(canvas, picture);
  }
  return { root, update };
}

/** The body of a card that an address names; null where this server has not what it is of.
 * @param {State} state @param {string} said */
function bodyOf(state, said) {
  const [photo, classifier, method, target] = said.split("*");
  const known = state.about.classifiers.find((/** @type {any} */ each) => each.name === classifier)?.methods.some((each) => each.name === method);
  if (!known || !photosOf(state).some((each) => each.id === photo)) return null;
  const likeliest = /** @type {const} */ ({ kind: "predicted", rank: 1 });
  return { kind: "explain", classifier, photo, method, settings: {}, target: target ? targetOf({ ...state, target }) ?? likeliest : likeliest };
}

/** @param {HTMLElement} root @param {import("./store.js").Store} page @param {import("./desk.js").Desk} jobs */
export function cards(root, page, jobs) {
  const tools = element("div", { class: "row wrap" });
  const methods = element("div", {});
  const list = element("ul", { class: "cards" });
  const shown = /** @type {Map<string, ReturnType<typeof cardOf>>} */ (new Map());
  const search = classSearch("Add another class", () => classifierOf(page.get())?.name ?? null, ({ index, label }) => {
    const body = mapBody(page.get());
    page.set({ labels: { ...page.get().labels, [`${classifierOf(page.get()).name} ${index}`]: label } });
    if (body) add([{ ...body, target: { kind: "class", index } }]);
  });
  root.append(element("h2", {}, "Side by side"), tools, element("div", { class: "row wrap" }, methods, search), list);

  function add(/** @type {any[]} */ bodies) {
    const state = page.get();
    const known = new Set(state.cards.map((each) => JSON.stringify(each.body)));
    const added = bodies.filter((body) => !known.has(JSON.stringify(body))).slice(0, MOST - state.cards.length).map((body) => ({ key: `card ${++number}`, body }));
    page.set({ cards: [...state.cards, ...added] });
    for (const { key, body } of added) jobs.run(key, body, { ask: true, patient: true });
  }

  function clear() {
    for (const { key } of page.get().cards) jobs.forget(key);
    page.set({ cards: [] });
  }

  page.subscribe((state) => {
    if (state.about && state.linked.length) {
      page.set({ linked: [] });
      add(state.linked.map((said) => bodyOf(state, said)).filter(Boolean));
    }
    const body = mapBody(state);
    const groups = Object.entries(GROUPS).filter(([, bodies]) => body && bodies(state, body).length > 1);
    const options = (classifierOf(state)?.methods ?? []).map((each) => ({ value: each.name, label: each.name }));
    fill(tools, body
      ? groups.map(([name, bodies]) => button(name, () => add(bodies(state, body)), { "data-key": `compare ${name}` }))
      : element("p", { class: "quiet" }, "Choose a photo; then methods, classes and classifiers can be laid side by side."),
      state.cards.length > 0 && button("Clear", clear, { class: "small", "data-key": "clear cards" }));
    fill(methods, body && choice("Add another method", [{ value: "", label: "choose …" }, ...options], "", (method) => method && add([{ ...body, method }])));
    search.hidden = !body;
    for (const [key, card] of shown) if (!state.cards.some((each) => each.key === key)) card.root.remove(), shown.delete(key);
    for (const card of state.cards) {
      if (!shown.has(card.key)) {
        const made = cardOf(page, jobs, card);
        shown.set(card.key, made);
        list.append(made.root);
      }
      shown.get(card.key)?.update(state);
    }
  });
}
