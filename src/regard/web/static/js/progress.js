/** What is said of a job that is not done: its queue, its estimate, its progress, its failure. The same everywhere. */

import { button, element } from "./dom.js";
import { counted, percent, seconds } from "./numbers.js";

/** @param {import("./jobs.js").Work} work */
function inWords(work) {
  if (work.status === "waiting" && work.place) return `In the queue: ${counted(work.place, "job")} before this one`;
  if (work.status === "waiting") return "Waiting to begin";
  const expected = work.expected ? `, about ${seconds(work.expected)} in all` : "";
  return work.share === null ? `At work${expected}` : `${percent(Math.floor(work.share * 100) / 100)} done${expected}`;
}

/**
 * @param {import("./jobs.js").Work|undefined} work
 * @param {{what: string, cancel?: () => void, again?: () => void, key?: string}} about  `what` is made, in a few words
 * @returns {HTMLElement|null} null where there is nothing to say
 */
export function progress(work, { what, cancel, again, key = what }) {
  if (!work || work.status === "done") return null;
  const row = (...children) => element("div", { class: `progress ${work.status}`, "data-status": work.status }, children);
  if (work.status === "asking") {
    return row(
      element("p", {}, `${what} takes about ${seconds(work.expected)}${work.passes ? ` (${counted(work.passes, "pass", "passes")})` : ""}.`),
      element("div", { class: "row" }, button("Start", () => work.yes?.(), { class: "main", "data-key": `${key} start` }), cancel && button("Leave it", cancel)),
    );
  }
  if (work.status === "beyond") {
    return row(element("p", { class: "note" }, `${what} would take about ${seconds(work.expected)}, and this server ends a job after ${seconds(work.most)}. Choose a quicker method; regard explain, on the command line, has no such limit.`));
  }
  if (work.status === "failed") {
    return row(element("p", { class: "error", role: "alert" }, `${what} failed. ${work.error?.message ?? ""}`), again && button("Try again", again, { "data-key": `${key} again` }));
  }
  if (work.status === "cancelled") {
    return row(element("p", { class: "quiet" }, `${what} was cancelled.`), again && button("Begin again", again, { "data-key": `${key} again` }));
  }
  const bar = element("progress", { max: 1, "aria-label": what });
  if (work.share !== null) bar.value = work.share;
  return row(
    element("p", { class: "quiet" }, `${what}: ${inWords(work)}`),
    element("div", { class: "row" }, bar, cancel && button("Cancel", cancel, { class: "small", "data-key": `${key} cancel`, "aria-label": `Cancel: ${what}` })),
  );
}
