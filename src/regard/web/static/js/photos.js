/** Photos to choose from: samples and a person's own, which are dropped, pasted or picked. */

import { photoAddress, remove, upload } from "./api.js";
import { isPhotoWanted } from "./asked.js";
import { button, element, fill } from "./dom.js";

const KEPT = "regard-own-photos";
const SIDE = 160;

/** Another photo is asked about its own likeliest class; a concept is looked for in every photo.
 * @param {import("./store.js").Store} page @param {string} id */
export function choosePhoto(page, id) {
  const { target } = page.get();
  page.set({ photo: id, target: target.startsWith("concept") ? target : "", off: [], hidden: [], step: 0, held: null, refused: "" });
}

/** Own photos outlast a reload of this tab, as long as the server has them.
 * @param {import("./api.js").Photo[]} own */
function keep(own) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(own));
  } catch {
    /* they last as long as the page */
  }
}

/** @returns {Promise<import("./api.js").Photo[]>} those that the server still has */
export async function keptPhotos() {
  try {
    const own = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
    const there = await Promise.all(own.map((each) => fetch(photoAddress(each.id, 16)).then((answer) => answer.ok, () => false)));
    return own.filter((_, at) => there[at]);
  } catch {
    return [];
  }
}

/** @param {import("./store.js").Store} page @param {Iterable<File>} files */
export async function takePhotos(page, files) {
  for (const file of files) {
    page.set({ refused: "", uploading: page.get().uploading + 1 });
    try {
      const photo = await upload(file, file.name || "pasted");
      const own = [{ ...photo, alt: `Your photo ${photo.name}` }, ...page.get().own];
      keep(own);
      page.set({ own });
      choosePhoto(page, photo.id);
    } catch (error) {
      page.set({ refused: `${file.name || "What was pasted"} was not taken. ${error.message}` });
    } finally {
      page.set({ uploading: page.get().uploading - 1 });
    }
  }
}

/** @param {import("./store.js").Store} page @param {string} id */
function removePhoto(page, id) {
  remove(`/photos/${id}`);
  const own = page.get().own.filter((each) => each.id !== id);
  keep(own);
  const cards = page.get().cards.filter(({ body }) => body.photo !== id);
  page.set({ own, cards, ...(page.get().photo === id && { photo: "" }) });
}

/** Dropping and pasting work anywhere on the page.
 * @param {import("./store.js").Store} page */
function listen(page) {
  const veil = /** @type {HTMLElement} */ (document.getElementById("veil"));
  let depth = 0;
  const over = (/** @type {number} */ change) => (veil.hidden = (depth = Math.max(0, depth + change)) === 0);
  const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => hasFiles(event) && over(1));
  addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    takePhotos(page, event.dataTransfer?.files ?? []);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) takePhotos(page, event.clipboardData.files);
  });
}

/** @param {HTMLElement} root @param {import("./store.js").Store} page */
export function photos(root, page) {
  const field = element("input", {
    ...{ type: "file", accept: "image/*", multiple: true, class: "unseen", id: "file" },
    onchange: () => (takePhotos(page, [...field.files]), (field.value = "")),
  });
  const add = element("label", { class: "tile add", for: "file" }, element("span", { class: "plus", "aria-hidden": "true" }, "+"), "Your photo");
  const strip = element("ul", { class: "strip-of-photos", "aria-label": "Photos to choose from" });
  const said = element("div", {});
  let shown = "";
  let chosen = "";
  root.append(element("div", { class: "photos" }, element("div", { class: "adding" }, field, add), strip), said);
  listen(page);

  const tile = (/** @type {any} */ photo, /** @type {boolean} */ own) =>
    element(
      "li",
      {},
      element(
        "button",
        { type: "button", class: "tile", "data-photo": photo.id, "data-key": photo.id, onclick: () => choosePhoto(page, photo.id) },
        element("img", { src: photoAddress(photo.id, SIDE), alt: photo.alt ?? photo.name, loading: "lazy", width: 72, height: 72 }),
      ),
      own && button("×", () => removePhoto(page, photo.id), { class: "away", "aria-label": `Remove ${photo.alt}` }),
    );

  page.subscribe((state) => {
    const samples = state.about?.samples ?? [];
    const now = [...state.own, ...samples].map((each) => each.id).join();
    if (now !== shown) fill(strip, ...state.own.map((each) => tile(each, true)), ...samples.map((each) => tile(each, false)));
    shown = now;
    for (const each of strip.querySelectorAll(".tile")) each.setAttribute("aria-pressed", String(each.dataset.photo === state.photo));
    if (state.photo !== chosen) strip.querySelector('[aria-pressed="true"]')?.scrollIntoView({ block: "nearest", inline: "nearest" });
    chosen = state.photo;
    fill(said,
      state.uploading > 0 && element("p", { class: "quiet", role: "status" }, "Reading your photo …"),
      state.refused && element("p", { class: "error", role: "alert" }, state.refused),
      !state.refused && isPhotoWanted(state) && element("p", { class: "note", role: "status" },
        "This link is about a photo of someone’s own, which no link can hold. Drop, paste or pick that photo: the settings are kept."));
  });
}
