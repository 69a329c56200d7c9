/** Tabs, by pointer and arrow keys; which is open stands in the address. */

const NAMES = ["map", "question", "concepts", "ranks"];

/** @param {import("./store.js").Store} page */
export function tabs(page) {
  const tab = (/** @type {string} */ name) => /** @type {HTMLElement} */ (document.getElementById(`tab-${name}`));
  const panel = (/** @type {string} */ name) => /** @type {HTMLElement} */ (document.getElementById(`panel-${name}`));
  const open = () => NAMES.filter((name) => !tab(name).hidden);

  for (const name of NAMES) {
    tab(name).addEventListener("click", () => page.set({ tab: name }));
    tab(name).addEventListener("keydown", (event) => {
      const all = open();
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : step && (all.indexOf(name) + step + all.length) % all.length;
      if (next === undefined) return;
      event.preventDefault();
      page.set({ tab: all[next] });
      tab(all[next]).focus();
    });
  }

  page.subscribe((state) => {
    tab("ranks").hidden = !state.works.map?.result?.ranks && state.tab !== "ranks";
    const chosen = NAMES.includes(state.tab) ? state.tab : "map";
    for (const name of NAMES) {
      tab(name).setAttribute("aria-selected", String(name === chosen));
      tab(name).tabIndex = name === chosen ? 0 : -1;
      panel(name).hidden = name !== chosen;
    }
  });
}
