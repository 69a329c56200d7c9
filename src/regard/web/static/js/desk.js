/**
 * Jobs by name: beginning one stops the earlier one of that name. `follow` keeps the named ones as the state asks.
 *
 * @typedef {import("./store.js").Store} Store
 * @typedef {ReturnType<typeof desk>} Desk
 */

import { classesBody, curveBody, mapBody, withoutBody } from "./asked.js";
import { begin } from "./jobs.js";

const FOLLOWED = { classes: classesBody, map: mapBody, curve: curveBody, without: withoutBody };
const ASKING = ["map", "curve"];

/** @param {Store} page */
export function desk(page) {
  const stops = /** @type {Map<string, () => void>} */ (new Map());
  const began = /** @type {Map<string, {body: any, how: any}>} */ (new Map());

  /** @param {string} name @param {any} body @param {{ask?: boolean, patient?: boolean}} [how] */
  function run(name, body, how = {}) {
    forget(name);
    began.set(name, { body, how });
    let mine = true;
    const stop = begin(body, how, (work) => {
      if (mine) page.set({ works: { ...page.get().works, [name]: work } });
    });
    stops.set(name, () => ((mine = false), stop()));
  }

  /** @param {string} name */
  function forget(name) {
    stops.get(name)?.();
    stops.delete(name);
    began.delete(name);
    const { [name]: _, ...works } = page.get().works;
    page.set({ works });
  }

  /** It is shown as cancelled, and can be begun again.
   * @param {string} name */
  function cancel(name) {
    stops.get(name)?.();
    const works = page.get().works;
    page.set({ works: { ...works, [name]: { ...works[name], status: "cancelled", yes: null } } });
  }

  /** @param {string} name */
  function again(name) {
    const { body, how } = began.get(name) ?? {};
    if (body) run(name, body, how);
  }

  return { run, forget, cancel, again };
}

/** What the state asks for is under way, and nothing else is.
 * @param {Store} page @param {Desk} jobs */
export function follow(page, jobs) {
  const asked = /** @type {Record<string, string>} */ ({});
  page.subscribe(() => {
    for (const [name, bodyOf] of Object.entries(FOLLOWED)) {
      const body = bodyOf(page.get());
      const now = body ? JSON.stringify(body) : "";
      if ((asked[name] ?? "") === now) continue;
      asked[name] = now;
      if (body) jobs.run(name, body, { ask: ASKING.includes(name) });
      else jobs.forget(name);
    }
  });
}
