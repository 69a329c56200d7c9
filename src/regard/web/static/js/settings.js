/** Who is asked, and how: the classifier, and the method that draws the map. */

import { classifierOf, methodOf } from "./asked.js";
import { choice, element, fill } from "./dom.js";
import { counted, seconds } from "./numbers.js";

/** @param {HTMLElement} root @param {import("./store.js").Store} page */
export function settings(root, page) {
  const fields = element("div", { class: "row wrap" });
  const said = element("p", { class: "quiet" });
  root.append(fields, said);
  const fresh = { off: [], hidden: [], step: 0, held: null };

  page.subscribe((state) => {
    const classifiers = state.about?.classifiers ?? [];
    const [classifier, method] = [classifierOf(state), methodOf(state)];
    if (!classifier) return;
    const options = classifier.methods.map((each) => ({ value: each.name, label: each.best ? `${each.name} (recommended)` : each.name }));
    fill(fields,
      choice("Classifier", classifiers.map(({ name }) => ({ value: name, label: name })), classifier.name, (name) => page.set({ classifier: name, method: "", target: "", ...fresh })),
      choice("Method", options, method?.name ?? "", (name) => page.set({ method: name, ...fresh })));
    said.textContent = method ? `${method.name}: ${method.summary} · ${counted(method.passes, "pass", "passes")}, about ${seconds(method.seconds)}` : "No method explains this classifier.";
  });
}
