/**
 * One job from its body to its result, told as it goes. Stopping it tells the server, too.
 *
 * @typedef {"asking"|"beyond"|"waiting"|"running"|"done"|"failed"|"cancelled"} Status
 * @typedef {{body: any, status: Status, id: string|null, share: number|null, place: number|null,
 *     expected: number|null, most: number|null, passes: number|null, result: any, error: Error|null, yes: (() => void)|null}} Work
 *     what every panel shows of a job: the share that is done, its place in the queue, the seconds it is expected to
 *     take; `yes` begins one that asks first; "beyond" is what would take longer than `most`, the seconds that
 *     the server gives a job
 */

import { get, post, remove, sentences } from "./api.js";

const WAIT = 15;
/** Seconds above which a person is asked before it begins. */
export const ASKED_ABOVE = 10;
const OVER = ["done", "failed", "cancelled", "beyond"];
/** Of jobs that can wait, as many are with the server at once: it takes few of one visitor, and what is on the stage
 * goes before. */
const TOGETHER = 2;

let busy = 0;
const queue = /** @type {(() => void)[]} */ ([]);

/** @param {() => Promise<any>} work  done when its turn has come */
async function inTurn(work) {
  while (busy >= TOGETHER) await new Promise((next) => queue.push(() => next(null)));
  busy++;
  try {
    return await work();
  } finally {
    busy--;
    queue.shift()?.();
  }
}

/** @param {Work|undefined} work */
export const isUnderWay = (work) => Boolean(work) && !OVER.includes(work.status);

/**
 * @param {any} body  of POST /jobs
 * @param {{ask?: boolean, patient?: boolean}} how  whether to estimate first, and ask where it is long; whether it can
 *     wait for others of this page
 * @param {(work: Work) => void} update  called with every change
 * @returns {() => void} stops it
 */
export function begin(body, { ask = false, patient = false }, update) {
  const abort = new AbortController();
  const nothing = { share: null, place: null, expected: null, most: null, passes: null, result: null, error: null, yes: null };
  let work = /** @type {Work} */ ({ body, status: "waiting", id: null, ...nothing });

  const tell = (/** @type {Partial<Work>} */ news) => update((work = { ...work, ...news }));

  function stop() {
    if (!isUnderWay(work)) return;
    if (work.id) remove(`/jobs/${work.id}`);
    abort.abort(new Error("stopped"));
    tell({ status: "cancelled", yes: null });
  }

  async function permitted() {
    const { seconds, passes, too_long: isTooLong, most_seconds: most } = await post("/estimate", body, abort.signal);
    tell({ expected: seconds, passes });
    if (isTooLong) return tell({ status: "beyond", most });
    if (seconds === null || seconds <= ASKED_ABOVE) return true;
    await new Promise((yes) => tell({ status: "asking", yes: () => yes(null) }));
    tell({ status: "waiting", yes: null });
    return true;
  }

  async function run() {
    if (ask && !(await permitted())) return undefined;
    return patient ? inTurn(send) : send();
  }

  async function send() {
    if (abort.signal.aborted) return undefined;
    let job = await post("/jobs", body);
    if (abort.signal.aborted) return remove(`/jobs/${job.id}`);
    tell({ id: job.id });
    while (job.state === "waiting" || job.state === "running") {
      const share = job.passes_expected ? Math.min(1, job.passes_done / job.passes_expected) : null;
      const { state: status, place, seconds_expected: expected } = job;
      tell({ status, share, place, expected, passes: job.passes_expected });
      job = await get(`/jobs/${work.id}?wait=${WAIT}`, abort.signal);
    }
    if (job.state === "done") return tell({ status: "done", result: job.result });
    if (job.state === "cancelled") return tell({ status: "cancelled" });
    const words = job.error ?? { problem: "Nobody asked for this result any more, so the server dropped it." };
    throw new Error(sentences(words));
  }

  tell({});
  run().catch((error) => {
    if (!abort.signal.aborted) tell({ status: "failed", error });
  });
  return stop;
}
