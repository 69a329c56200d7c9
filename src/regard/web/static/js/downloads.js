/** What can be taken along: picture, raw maps, report, a link, and the Python that does the same. */

import { request } from "./api.js";
import { photoOf } from "./asked.js";
import { button, element, fill } from "./dom.js";
import { counted, seconds } from "./numbers.js";
import { address } from "./store.js";

const FILES = [
  ["picture.png", "Picture"],
  ["maps.safetensors", "Raw maps"],
  ["report.html", "Report"],
];

/** @param {string} job @param {string} file */
async function save(job, file) {
  const blob = await (await request(`/jobs/${job}/${file}`)).blob();
  const link = element("a", { href: URL.createObjectURL(blob), download: `regard-${file}` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {HTMLElement} root @param {import("./store.js").Store} page */
export function downloads(root, page) {
  const facts = element("p", { class: "quiet" });
  const row = element("div", { class: "row wrap" });
  const said = element("p", { class: "quiet", role: "status" });
  const copied = element("input", { readOnly: true, hidden: true, "aria-label": "To be copied" });
  const lines = element("pre", { tabIndex: 0 });
  const python = element("details", {}, element("summary", {}, "The Python that does the same"), lines, button("Copy the lines", () => copy(lines.textContent ?? "", "The Python lines are copied.")));
  root.append(facts, row, said, copied, python);

  async function copy(/** @type {string} */ text, /** @type {string} */ done) {
    copied.hidden = true;
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = done;
    } catch {
      Object.assign(copied, { hidden: false, value: text });
      copied.select();
      said.textContent = "Copy what is selected here:";
    }
  }

  async function take(/** @type {string} */ job, /** @type {string} */ file, /** @type {string} */ words) {
    said.textContent = `${words} is being made …`;
    try {
      await save(job, file);
      said.textContent = `${words} is saved.`;
    } catch (error) {
      said.textContent = `${words} could not be saved. ${error.message}`;
    }
  }

  page.subscribe((state) => {
    const work = state.works.map;
    const result = work?.result;
    root.hidden = !result;
    if (!result || !work?.id) return;
    const job = work.id;
    const own = !state.photo.startsWith("sample:");
    facts.textContent = `${result.method} · ${[counted(result.forwards, "forward pass", "forward passes"), result.backwards && counted(result.backwards, "backward pass", "backward passes")].filter(Boolean).join(", ")} · ${seconds(result.seconds)}`;
    fill(row,
      FILES.map(([file, words]) => button(words, () => take(job, file, words), { "data-key": file, title: `Download for ${photoOf(state)?.name}` })),
      button("Copy link", () => copy(location.origin + location.pathname + address(page.get()), own ? "The link is copied. It holds the settings, not your photo: whoever opens it is asked for it." : "The link is copied."), { "data-key": "link" }));
    if (lines.textContent !== result.python) lines.textContent = result.python;
  });
}
