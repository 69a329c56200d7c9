"use strict";
// What a reader can do with a report: filter, order, look under maps, sort tables, take the numbers along.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function galleries() {
  for (const gallery of all("[data-gallery]")) {
    const form = gallery.querySelector("form");
    if (!form) continue;
    const shelf = gallery.querySelector(".cards");
    const cards = all(".card", shelf).map((node) => ({
      node,
      name: node.dataset.name,
      classes: JSON.parse(node.dataset.classes),
      verdict: node.dataset.verdict,
      scores: JSON.parse(node.dataset.scores),
    }));
    const none = gallery.querySelector("[data-none]");
    const value = (name) => form.elements[name]?.value ?? "";
    const show = () => {
      const score = (card) => card.scores[value("score")] ?? NaN;
      const least = parseFloat(value("least"));
      const most = parseFloat(value("most"));
      let count = 0;
      for (const card of cards) {
        const fits =
          (!value("class") || card.classes.includes(value("class"))) &&
          (!value("verdict") || card.verdict === value("verdict")) &&
          (Number.isNaN(least) || score(card) >= least) &&
          (Number.isNaN(most) || score(card) <= most);
        card.node.hidden = !fits;
        count += fits;
        for (const maps of all("[data-method]", card.node))
          maps.hidden = value("method") !== "" && maps.dataset.method !== value("method");
      }
      const sign = value("order") === "down" ? -1 : 1;
      const order = value("order") === "" ? cards : [...cards].sort((a, b) => byNumber(score(a), score(b), sign));
      shelf.append(...order.map((card) => card.node));
      form.querySelector("output").textContent = `${count} of ${cards.length} photos`;
      none.hidden = count > 0;
    };
    const cover = () => gallery.style.setProperty("--cover", value("opacity") / 100);
    form.addEventListener("input", (event) => (event.target.name === "opacity" ? cover() : show()));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => (form.elements.opacity && cover(), show())));
    none.querySelector("button").addEventListener("click", () => form.reset());
    form.hidden = false;
  }
}

// A photo is in the page once; under each of its maps it is put as its card comes near.
function photosUnderMaps() {
  const fill = (card) => {
    const source = card.querySelector(".photo img")?.src;
    for (const image of all("img[data-photo]:not([src])", card)) image.src = source;
  };
  const near = new IntersectionObserver(
    (seen) => {
      for (const { target, isIntersecting } of seen) if (isIntersecting) fill(target), near.unobserve(target);
    },
    { rootMargin: "1000px" },
  );
  const cards = all(".layered .card");
  for (const card of cards) near.observe(card);
  addEventListener("beforeprint", () => cards.forEach(fill));
}

// Numbers in order; what has none comes last, whichever the order.
const byNumber = (a, b, sign) => (Number.isNaN(a) ? 1 : 0) - (Number.isNaN(b) ? 1 : 0) || sign * (a - b) || 0;

const numberIn = (text) => parseFloat(/-?\d[\d,]*(\.\d+)?(e[+-]?\d+)?/i.exec(text)?.[0].replaceAll(",", "") ?? "NaN");

function tables() {
  for (const table of all("table[data-sortable]")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    if (rows.length < 3) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sign = down ? -1 : 1;
        const texts = new Map(rows.map((row) => [row, row.cells[column].textContent]));
        const words = column === 0 || rows.every((row) => Number.isNaN(numberIn(texts.get(row))));
        body.append(
          ...[...rows].sort((a, b) =>
            words
              ? sign * texts.get(a).localeCompare(texts.get(b), undefined, { numeric: true })
              : byNumber(numberIn(texts.get(a)), numberIn(texts.get(b)), sign),
          ),
        );
      });
    });
  }
}

const run = () => JSON.parse(document.getElementById("run").textContent);

// The columns of the embedded JSON as rows again.
function columnsOf(found) {
  return Object.entries(found.columns).map(([name, column]) => [
    name,
    column.values ?? column.codes.map((code) => (code < 0 ? null : column.levels[code])),
  ]);
}

const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

function csv() {
  const found = run();
  const columns = columnsOf(found);
  const lines = [columns.map(([name]) => quoted(name)).join(",")];
  for (let row = 0; row < found.rows; row++)
    lines.push(columns.map(([, values]) => quoted(String(values[row] ?? ""))).join(","));
  return new Blob([lines.join("\n") + "\n"], { type: "text/csv" });
}

function saving() {
  const kinds = {
    csv: ["rows.csv", csv],
    json: ["run.json", () => new Blob([document.getElementById("run").textContent], { type: "application/json" })],
  };
  for (const button of all("button[data-save]")) {
    const [name, made] = kinds[button.dataset.save];
    button.hidden = false;
    button.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(made());
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    });
  }
}

// On paper nothing can be opened: what is folded is printed open, and folded again.
function printing() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    for (const each of opened) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of opened) each.open = false;
  });
}

photosUnderMaps();
galleries();
tables();
saving();
printing();
