/** The page: one state, what follows from it, and the panels that show it. */

import { events, get } from "./api.js";
import { bars } from "./bars.js";
import { cards } from "./cards.js";
import { concepts } from "./concepts.js";
import { desk, follow } from "./desk.js";
import { button, element, fill } from "./dom.js";
import { downloads } from "./downloads.js";
import { exam } from "./exam.js";
import { look } from "./look.js";
import { notices } from "./notices.js";
import { seconds } from "./numbers.js";
import { keptPhotos, photos } from "./photos.js";
import { question } from "./question.js";
import { ranks } from "./ranks.js";
import { settings } from "./settings.js";
import { stage } from "./stage.js";
import { keepAddress, OWN, readAddress, readCards, store } from "./store.js";
import { tabs } from "./tabs.js";

const page = store();
const jobs = desk(page);
const at = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Names of classes, as answers bring them. */
function learnLabels(/** @type {import("./store.js").State} */ state) {
  const labels = { ...state.labels };
  for (const { body, result } of Object.values(state.works)) {
    for (const { index, label } of result?.classes ?? []) labels[`${body.classifier} ${index}`] = label;
    if (body?.kind === "explain" && body.target.kind === "class" && result) labels[`${body.classifier} ${body.target.index}`] = result.target.name;
  }
  if (JSON.stringify(labels) !== JSON.stringify(state.labels)) page.set({ labels });
}

/** What the server can do, and what the address asks for. */
async function open() {
  fill(at("opening"), element("p", { role: "status" }, "Opening …"));
  try {
    const [about, own] = await Promise.all([get("/about"), keptPhotos()]);
    const said = readAddress(location.hash);
    if (said.photo === OWN && own.length) said.photo = own[0].id;
    page.set({ about, own, ...said, linked: readCards(location.hash) });
    fill(at("opening"));
    at("page").hidden = false;
    at("version").textContent = `regard ${about.version}`;
    at("kept").textContent = `forgotten ${seconds(about.limits.idle_seconds)} after you were last here`;
  } catch (error) {
    if (error.status === 0) return fill(at("opening")); // as the banner says, and it goes on once the server is back
    fill(at("opening"), element("p", { class: "error", role: "alert" }, error.message), button("Try again", open, { class: "main" }));
  }
}

follow(page, jobs);
page.subscribe(learnLabels);
keepAddress(page);
notices(page, jobs);
tabs(page);
photos(at("photos"), page);
stage(at("stage"), page, jobs);
downloads(at("downloads"), page);
bars(at("bars"), page, jobs);
settings(at("settings"), page);
look(at("panel-map"), page);
question(at("panel-question"), page, jobs);
concepts(at("panel-concepts"), page, jobs);
ranks(at("panel-ranks"), page);
cards(at("cards"), page, jobs);
exam(at("exam"), page, jobs);
events.addEventListener("back", () => page.get().about || open());
open();
