/** The API's documentation, made from its own description: addresses, what they take, what they answer. */

import { get } from "./api.js";
import { element, fill } from "./dom.js";

const root = /** @type {HTMLElement} */ (document.getElementById("routes"));

const nameOf = (/** @type {any} */ schema) => schema.$ref?.split("/").at(-1);

/** A type in words; names of others lead to their tables.
 * @param {any} schema @returns {any[]} */
function typed(schema) {
  if (schema.$ref) return [element("a", { href: `#${nameOf(schema)}` }, nameOf(schema))];
  const any = schema.anyOf ?? schema.oneOf;
  if (any) return any.flatMap((one, at) => [at ? " or " : "", ...typed(one)]);
  if (schema.const !== undefined) return [element("code", {}, JSON.stringify(schema.const))];
  if (schema.enum) return [element("code", {}, schema.enum.map((each) => JSON.stringify(each)).join(" | "))];
  if (schema.type === "array") return ["list of ", ...typed(schema.items ?? {})];
  return [schema.type ?? "anything"];
}

/** A text in which code stands between backticks. @param {string} text */
const prose = (text) => element("p", { class: "measure" }, text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part)));

/** Bounds of a value, in words. @param {any} schema */
function bounds(schema) {
  const said = [["minimum", "≥"], ["maximum", "≤"], ["minLength", "length ≥"], ["maxLength", "length ≤"], ["minItems", "items ≥"], ["maxItems", "items ≤"]];
  const words = said.filter(([key]) => schema[key] !== undefined).map(([key, sign]) => `${sign} ${schema[key]}`);
  if (schema.default !== undefined && schema.default !== null) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join(", ");
}

/** @param {[any, any, any][]} rows */
const table = (rows) => rows.length > 0 && element("table", {}, element("tbody", {}, rows.map((cells) =>
  element("tr", {}, cells.map((cell, at) => element(at ? "td" : "th", at ? {} : { scope: "row" }, cell))))));

/** @param {string} path @param {string} verb @param {any} route */
function section(path, verb, route) {
  const body = Object.entries(route.requestBody?.content ?? {});
  const answers = Object.entries(route.responses).filter(([status]) => status < "300");
  return element("section", { class: "route stack" },
    element("h2", {}, element("span", { class: "verb" }, verb.toUpperCase()), element("code", {}, path)),
    route.description && prose(route.description.split("\n\n")[0]),
    table((route.parameters ?? []).filter((each) => each.in !== "cookie").map((each) => [element("code", {}, each.name), [`${each.in}, `, ...typed(each.schema)], bounds(each.schema)])),
    body.map(([kind, { schema }]) => element("p", {}, `takes ${kind}: `, typed(schema))),
    answers.map(([status, answer]) => element("p", {}, `answers ${status}: `, Object.entries(answer.content ?? {}).flatMap(([kind, { schema }]) => (schema && Object.keys(schema).length ? [...typed(schema), " "] : [kind])))));
}

/** @param {string} name @param {any} schema */
function model(name, schema) {
  const needed = new Set(schema.required ?? []);
  return element("section", { class: "route stack", id: name },
    element("h2", {}, name), schema.description && prose(schema.description),
    table(Object.entries(schema.properties ?? {}).map(([key, each]) => [element("code", {}, key), typed(each), [needed.has(key) ? "" : "optional ", bounds(each)].join("")])));
}

try {
  const { paths, components } = await get("/openapi.json");
  fill(root,
    Object.entries(paths).flatMap(([path, verbs]) => Object.entries(verbs).map(([verb, route]) => section(path, verb, route))),
    element("h2", {}, "What travels"), Object.entries(components.schemas).map(([name, schema]) => model(name, schema)));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
} catch (error) {
  fill(root, element("p", { class: "error", role: "alert" }, error.message));
}
