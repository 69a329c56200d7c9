/** How the map is looked at: which class, rather than which other, how strong it lies over the photo, on which scale. */

import { classifierOf, indexOf, labelOf, methodOf, photoOf, targetOf } from "./asked.js";
import { choice, element, fill } from "./dom.js";
import { figure, percent } from "./numbers.js";
import { classSearch } from "./search.js";

/** @param {HTMLElement} root @param {import("./store.js").Store} page */
export function look(root, page) {
  const learnt = (/** @type {{index: number, label: string}} */ { index, label }) => ({ ...page.get().labels, [`${classifierOf(page.get())?.name} ${index}`]: label });
  const search = classSearch("Search all classes", () => classifierOf(page.get())?.name ?? null, (found) => page.set({ target: `class:${found.index}`, labels: learnt(found), hidden: [] }));
  const rather = element("div", {});
  const slider = element("input", { type: "range", min: 0, max: 100, id: "opacity", oninput: () => page.set({ opacity: String(Number(slider.value) / 100) }) });
  const opacity = element("output", { for: "opacity" });
  const cells = element("input", { type: "checkbox", onchange: () => page.set({ cells: cells.checked ? "sharp" : "" }) });
  const hold = element("input", { type: "checkbox", onchange: () => page.set({ held: hold.checked ? page.get().works.map?.result?.scale[1] ?? null : null }) });
  const holdWords = element("span", {});
  const field = element("div", { class: "stack" }, element("label", { class: "field", for: "opacity" }, element("span", {}, "Map over the photo: ", opacity), slider),
    element("label", { class: "check" }, cells, element("span", {}, "Show its cells as they are")), element("label", { class: "check" }, hold, holdWords));
  root.append(search, rather, field);

  page.subscribe((state) => {
    const [classifier, target, index] = [classifierOf(state), targetOf(state), indexOf(state)];
    search.hidden = !classifier?.classes || !photoOf(state);
    field.hidden = !photoOf(state);
    slider.value = String(Math.round(100 * Number(state.opacity)));
    opacity.textContent = percent(Number(state.opacity));
    cells.checked = state.cells === "sharp";
    hold.checked = state.held !== null;
    holdWords.textContent = state.held === null ? "Hold this scale for other classes" : `Scale held at ±${figure(state.held)}`;
    const others = (state.works.classes?.result?.classes ?? []).filter((each) => each.index !== index);
    const second = target?.kind === "difference" ? String(target.second) : "";
    const options = [{ value: "", label: "nothing else" }, ...others.map((each) => ({ value: String(each.index), label: each.label }))];
    const ask = (/** @type {string} */ other) => page.set({ target: other ? `difference:${index}:${other}` : `class:${index}`, hidden: [] });
    fill(rather, index !== null && methodOf(state)?.answers.includes("difference") && choice(`Why ${labelOf(state, index)} rather than`, options, second, ask));
  });
}
