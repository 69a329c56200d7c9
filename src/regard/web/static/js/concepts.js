/** "Show a concept": name what a few photos have in common, and see where it is found in others. */

import { classifierOf, photosOf } from "./asked.js";
import { photoAddress } from "./api.js";
import { button, choice, element, fill } from "./dom.js";
import { figure } from "./numbers.js";
import { progress } from "./progress.js";

const MOST = 12;
const SIDE = 160;

/** Photos to tick.
 * @param {string} words @param {Set<string>} ticked @param {() => void} changed */
function ticks(words, ticked, changed) {
  const grid = element("div", { class: "ticks" });
  const root = element("fieldset", {}, element("legend", {}, words), grid);
  const flip = (/** @type {string} */ id, /** @type {boolean} */ on) => {
    if (on && ticked.size < MOST) ticked.add(id);
    else ticked.delete(id);
    changed();
  };
  const show = (/** @type {any[]} */ photos) => fill(grid, photos.map((photo) =>
    element("label", { class: "tick" },
      element("input", { type: "checkbox", checked: ticked.has(photo.id), "data-key": `${words} ${photo.id}`, "aria-label": photo.alt ?? photo.name, onchange: (event) => flip(photo.id, event.target.checked) }),
      element("img", { src: photoAddress(photo.id, SIDE), alt: "", width: 56, height: 56, loading: "lazy" }))));
  return { root, show };
}

/** @param {HTMLElement} root @param {import("./store.js").Store} page @param {import("./desk.js").Desk} jobs */
export function concepts(root, page, jobs) {
  const [examples, others] = [/** @type {Set<string>} */ (new Set()), /** @type {Set<string>} */ (new Set())];
  let name = "";
  const changed = () => page.set({});
  const shownIn = ticks("Photos that show it", examples, changed);
  const missingIn = ticks("Photos that do not (optional)", others, changed);
  const field = element("input", { type: "text", maxLength: 60, placeholder: "towers, brass, stripes …", oninput: () => ((name = field.value.trim()), changed()) });
  const make = button("Find this concept", () => begin(), { class: "main" });
  const list = element("div", { class: "stack" });
  const said = element("div", {});
  root.append(
    element("h2", { class: "unseen" }, "Show a concept"),
    element("p", { class: "quiet" }, "Tick a few photos that share something, or drop your own, and give it a name. Its map then shows where that is found in any photo."),
    element("label", { class: "field" }, element("span", {}, "Name"), field), shownIn.root, element("details", {}, element("summary", {}, "Photos without it"), missingIn.root), make, said, list);

  function begin() {
    const classifier = classifierOf(page.get())?.name;
    const against = [...others].filter((id) => !examples.has(id));
    jobs.run("concept", { kind: "concept", classifier, name, photos: [...examples], against });
  }

  /** A concept that was just found is kept, and asked for. */
  function keep(/** @type {import("./store.js").State} */ state) {
    const work = state.works.concept;
    const made = work?.result;
    if (!made || state.concepts.some((each) => each.id === made.concept)) return;
    const kept = { id: made.concept, name: made.name, classifier: work.body.classifier, similarity: made.similarity };
    page.set({ concepts: [...state.concepts, kept], target: `concept:${made.concept}` });
  }

  /** @param {import("./store.js").State} state @param {any[]} own */
  function difference(state, own) {
    const [, first, second] = state.target.startsWith("conceptdifference:") ? state.target.split(":") : ["", own[0].id, own[1].id];
    const options = own.map((each) => ({ value: each.id, label: each.name }));
    const ask = (/** @type {string} */ one, /** @type {string} */ other) => one !== other && page.set({ target: `conceptdifference:${one}:${other}` });
    return element("div", { class: "row wrap" },
      choice("More of", options, first, (value) => ask(value, value === second ? first : second)),
      choice("than of", options, second, (value) => ask(value === first ? second : first, value)),
      button("Show the difference", () => ask(first, second), { "data-key": "difference" }));
  }

  page.subscribe((state) => {
    keep(state);
    if (state.tab !== "concepts") return;
    const classifier = classifierOf(state);
    const photos = photosOf(state);
    for (const id of [...examples, ...others]) if (!photos.some((photo) => photo.id === id)) examples.delete(id), others.delete(id);
    shownIn.show(photos);
    missingIn.show(photos);
    make.disabled = !name || !examples.size || !classifier?.concepts;
    const own = state.concepts.filter((each) => each.classifier === classifier?.name);
    fill(said, classifier && !classifier.concepts && element("p", { class: "note" }, "This classifier has no embedding to hold a concept in. Another may."),
      progress(state.works.concept, { what: "Finding the concept", cancel: () => jobs.cancel("concept"), again: () => jobs.again("concept") }));
    fill(list,
      own.length > 0 && element("h3", {}, "Your concepts"),
      element("ul", { class: "plain" }, own.map((each) =>
        element("li", {}, button(`Show “${each.name}” in this photo`, () => page.set({ target: `concept:${each.id}` }), { "aria-pressed": String(state.target === `concept:${each.id}`), "data-key": `show ${each.id}` }),
          element("span", { class: "quiet" }, ` alike among its photos: ${figure(each.similarity.reduce((sum, one) => sum + one, 0) / each.similarity.length)}`)))),
      own.length > 0 && element("p", { class: "quiet" }, state.photo ? "Choose another photo above: the concept is looked for there, too." : "Choose a photo above to look for it."),
      own.length > 1 && difference(state, own));
  });
}
