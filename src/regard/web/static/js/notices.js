/** What the whole page says: a server that is gone or busy, and, for those who listen, what has just been found. */

import { events, get } from "./api.js";
import { targetName, targetOf } from "./asked.js";
import { fill } from "./dom.js";
import { percent } from "./numbers.js";

const TRY_EVERY = 3000;

/** @param {import("./store.js").Store} page @param {import("./desk.js").Desk} jobs */
export function notices(page, jobs) {
  const banner = /** @type {HTMLElement} */ (document.getElementById("banner"));
  const live = /** @type {HTMLElement} */ (document.getElementById("live"));
  let trying = 0;

  const say = (/** @type {string} */ words) => {
    banner.hidden = !words;
    fill(banner, words);
  };

  events.addEventListener("gone", () => {
    say("The server does not answer. If it was stopped, start it again with regard serve: this page goes on by itself.");
    trying = window.setInterval(() => get("/about").catch(() => {}), TRY_EVERY);
  });
  events.addEventListener("back", async () => {
    clearInterval(trying);
    say("");
    const failed = Object.entries(page.get().works).filter(([, work]) => work.status === "failed" && work.error?.status === 0);
    for (const [name] of failed) jobs.again(name);
  });
  events.addEventListener("busy", (event) => {
    const left = /** @type {CustomEvent} */ (event).detail;
    say(left ? `The server has all hands full. Trying again in ${left} s.` : "");
  });

  let told = "";
  page.subscribe((state) => {
    const result = state.works.map?.result;
    const top = state.works.classes?.result?.classes[0];
    const words = result
      ? `The map of ${targetName(state, targetOf(state))} is there.`
      : top ? `Likeliest class: ${top.label}${top.probability === null ? "" : `, ${percent(top.probability)}`}.` : "";
    if (words !== told) live.textContent = told = words;
  });
}
