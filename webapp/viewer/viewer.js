// Shows the API document. Text from the document is only ever set as text, never as HTML.
"use strict";

const METHODS = ["get", "post", "put", "delete"];
let model = {};

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

function named(reference) {
  return reference.split("/").pop();
}

// One line for a schema: "list of BatchItem", "integer 1..1000", "\"a\" | \"b\"".
function brief(schema) {
  if (!schema) return "";
  if (schema.$ref) return named(schema.$ref);
  if (schema.allOf) return schema.allOf.map(brief).filter(Boolean).join(" & ");
  if (schema.anyOf || schema.oneOf) return (schema.anyOf || schema.oneOf).map(brief).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `list of ${brief(schema.items) || "anything"}`;
  let text = [].concat(schema.type || "").join(" | ");
  if (schema.contentEncoding) text = schema.contentEncoding;
  if (schema.format) text += ` (${schema.format})`;
  if (schema.minimum !== undefined || schema.maximum !== undefined) {
    text += ` ${schema.minimum ?? ""}..${schema.maximum ?? ""}`;
  }
  if (schema.maxLength !== undefined) text += `, at most ${schema.maxLength} characters`;
  if (schema.pattern) text += ` /${schema.pattern}/`;
  return text;
}

// All members of a schema, those of what it is made of included.
function members(schema) {
  const found = new Map();
  const needed = new Set();
  const visit = (part) => {
    if (!part) return;
    if (part.$ref) return visit(model.components.schemas[named(part.$ref)]);
    if (part.type === "array") return visit(part.items);
    (part.allOf || []).forEach(visit);
    for (const [name, value] of Object.entries(part.properties || {})) found.set(name, value);
    for (const name of part.required || []) needed.add(name);
  };
  visit(schema);
  return [...found].map(([name, value]) => ({ name, value, needed: needed.has(name) }));
}

function table(head, rows) {
  const cells = (tag, row) => make("tr", {}, ...row.map((cell) => make(tag, {}, cell)));
  return make("table", {}, make("thead", {}, cells("th", head)), make("tbody", {}, ...rows.map((row) => cells("td", row))));
}

function code(text) {
  return make("code", {}, text);
}

function content(types) {
  const box = make("div");
  for (const [type, { schema }] of Object.entries(types)) {
    box.append(make("p", {}, code(type), " ", brief(schema)));
    box.append(rowsOf(schema));
  }
  return box;
}

function rowsOf(schema) {
  const rows = members(schema).map(({ name, value, needed }) => [
    code(name), brief(value), needed ? "always" : "", value.description || "",
  ]);
  return rows.length ? table(["member", "type", "", ""], rows) : "";
}

function access(operation) {
  if (!operation.security) return "Anybody, without credentials.";
  const scope = operation.security.flatMap((one) => one.token || []).join(", ");
  const roles = operation["x-roles"] || [];
  const who = roles.length ? `Partners with the role ${roles.join(", ")}` : "Every partner";
  return `${who}: machine secret, client certificate, or token${scope ? ` of scope ${scope}` : ""}.`;
}

function body(operation, aliases) {
  const box = make("div");
  if (operation.description) box.append(make("p", {}, operation.description));
  box.append(make("p", { class: "quiet" }, access(operation)));
  if (aliases.length) {
    box.append(make("h3", {}, "Also at"), make("pre", {}, aliases.join("\n")));
  }
  if (operation.parameters) {
    const rows = operation.parameters.map((one) => [
      code(one.name), one.in, brief(one.schema), one.required ? "needed" : "", one.description || "",
    ]);
    box.append(make("h3", {}, "Parameters"), table(["name", "in", "type", "", ""], rows));
  }
  if (operation.requestBody) box.append(make("h3", {}, "Body"), content(operation.requestBody.content));
  box.append(make("h3", {}, "Answers"));
  for (const [status, answer] of Object.entries(operation.responses)) {
    const failed = Number(status) >= 400;
    const types = Object.entries(answer.content || {}).map(([type, { schema }]) => `${type} ${brief(schema)}`);
    const form = failed && types.length ? ` (${types.join(", ")})` : "";
    box.append(make("p", {}, code(status), ` ${answer.description}`, make("span", { class: "quiet" }, form)));
    for (const [name, one] of Object.entries(failed ? {} : answer.headers || {})) {
      box.append(make("p", { class: "header" }, code(name), `: ${one.description}`));
    }
    if (answer.content && !failed) box.append(content(answer.content));
  }
  return box;
}

function shown(path, method, operation, aliases) {
  const head = make("summary", {},
    make("span", { class: `method ${method}` }, method.toUpperCase()),
    make("span", { class: "path" }, path),
    make("span", { class: "what" }, operation.summary));
  const kind = operation.deprecated ? "operation deprecated" : "operation";
  const box = make("details", { class: kind, id: operation.operationId }, head);
  const words = [method, path, ...aliases, operation.summary, operation.operationId, operation.tags.join(" "), ...(operation["x-roles"] || [])];
  box.dataset.words = words.join(" ").toLowerCase();
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(body(operation, aliases)); });
  return box;
}

// A schema that answers and bodies refer to by its name.
function described(name, schema) {
  const box = make("details", { class: "operation", id: `schema-${name}` }, make("summary", {}, make("span", { class: "path" }, name)));
  box.dataset.words = `schema ${name}`.toLowerCase();
  const more = make("div", {}, schema.description || "");
  more.append(rowsOf(schema));
  box.append(more);
  return box;
}

function show(found) {
  model = found;
  document.getElementById("title").textContent = `${model.info.title} ${model.info.version}`;
  document.getElementById("about").textContent = model.info.description;
  const aliases = new Map();
  const groups = new Map(model.tags.map((tag) => [tag.name, []]));
  const each = (visit) => {
    for (const [path, item] of Object.entries(model.paths)) {
      for (const method of METHODS) if (item[method]) visit(path, method, item[method]);
    }
  };
  each((path, method, operation) => {
    const original = operation["x-alias-of"];
    if (original) aliases.set(original, [...(aliases.get(original) || []), path]);
  });
  each((path, method, operation) => {
    if (operation["x-alias-of"]) return;
    groups.get(operation.tags[0]).push(shown(path, method, operation, aliases.get(operation.operationId) || []));
  });
  groups.set("Schemas", Object.entries(model.components.schemas).map(([name, schema]) => described(name, schema)));
  const contents = document.getElementById("contents");
  const sections = [...groups].filter(([, nodes]) => nodes.length).map(([name, nodes]) => {
    const id = `group-${name.replace(/\W+/g, "-")}`;
    contents.append(make("a", { href: `#${id}` }, name));
    return make("section", { id }, make("h2", {}, name), ...nodes);
  });
  document.getElementById("operations").replaceChildren(...sections);
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) { target.open = true; target.scrollIntoView(); }
}

function filter(event) {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const node of document.querySelectorAll("details.operation")) {
    node.hidden = !words.every((word) => node.dataset.words.includes(word));
  }
  for (const section of document.querySelectorAll("section")) {
    section.hidden = !section.querySelector("details.operation:not([hidden])");
  }
}

document.getElementById("filter").addEventListener("input", filter);
fetch("/openapi.json")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`status ${answer.status}`))))
  .then(show)
  .catch((error) => { document.getElementById("operations").textContent = `The document could not be read: ${error.message}`; });
