"use strict";
// Elements, tips, sortable tables and plots; they know nothing of harness. Every text becomes a text node, so that no
// name in the data can be read as markup.
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

// Hovering, focusing or tapping a `.tip` shows its text; Escape hides it.
const tips = new WeakMap();
function tipped(label, text, more = "") {
  const button = el("button", { type: "button", class: `tip ${more}`, "aria-describedby": "tip" }, label);
  tips.set(button, text);
  return button;
}
function showTip(text, x, y) {
  const tip = document.getElementById("tip");
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x, innerWidth - width - 8))}px`;
  tip.style.top = `${Math.max(8, y + height + 20 > innerHeight ? y - height - 26 : y + 14)}px`;
}
function tipOf(event) {
  const trigger = event.target.closest ? event.target.closest(".tip") : null;
  if (!trigger) return showTip("");
  const box = trigger.getBoundingClientRect();
  return showTip(tips.get(trigger), box.left, box.bottom - 8);
}
for (const kind of ["mouseover", "focusin", "click"]) document.addEventListener(kind, tipOf);
document.addEventListener("keydown", (event) => event.key === "Escape" && showTip(""));

// A column is {label, cell(row) -> nodes, sort(row) -> number, text or null, kind}; the first one heads the rows, and
// one without `sort` cannot be sorted by. Gives the table in a box that scrolls, and `show`, which filters its rows.
// Only so many rows are laid out until somebody asks for all: a filter must answer at once.
const ROWS = 30;
function table(caption, columns, rows, groups = []) {
  const body = el("tbody"), made = new Map(), more = el("button", { type: "button", class: "more" });
  let order = rows, wanted = () => true, all = false;
  const lineOf = (row) => made.get(row) ?? made.set(row, el("tr", {}, columns.map((column, at) => cell(column, at, row)))).get(row);
  const show = (keep = wanted) => {
    wanted = keep;
    const found = order.filter(keep);
    more.hidden = all || found.length <= ROWS;
    more.textContent = `Show all ${found.length.toLocaleString("en")}`;
    const lines = (more.hidden ? found : found.slice(0, ROWS)).map(lineOf);
    if (lines.length !== body.children.length || lines.some((line, at) => line !== body.children[at])) body.replaceChildren(...lines);
  };
  const heads = columns.map((column) => {
    if (!column.sort) return el("th", { scope: "col" }, column.label);
    const button = el("button", { type: "button" }, column.label);
    const th = el("th", { scope: "col", "aria-sort": "none" }, button);
    button.addEventListener("click", () => {
      const ascending = th.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      th.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      order = sorted(rows, column.sort, ascending ? 1 : -1);
      show();
    });
    return th;
  });
  more.addEventListener("click", () => { all = true; show(); });
  const top = groups.map(([label, span]) => (label ? el("th", { colspan: span, scope: "colgroup", class: "group" }, label) : el("td", { colspan: span })));
  show();
  return { node: el("div", {}, boxed(caption, el("thead", {}, top.length ? el("tr", {}, top) : null, el("tr", {}, heads)), body), more), show };
}
function sorted(rows, key, sign) {
  const keyed = rows.map((row) => [key(row), row]);
  keyed.sort(([a], [b]) => {
    if (a == null || b == null) return (a == null) - (b == null); // what is not known comes last either way
    return sign * (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  });
  return keyed.map(([, row]) => row);
}
function cell(column, at, row) {
  return el(at === 0 ? "th" : "td", at === 0 ? { scope: "row" } : column.kind ? { class: column.kind } : {}, column.cell(row));
}
function boxed(caption, head, body, kind = "") {
  const whole = el("table", { class: kind }, el("caption", {}, caption), head, body);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, whole);
}

// A plot keeps its view, so that a filter only changes its data, and is drawn after the frame in hand: tables answer
// first. Expressions are interpreted (`ast`): the page's security policy lets nothing evaluate text as a script.
const views = new WeakMap(), waiting = new Map();
function draw(plot, spec, points, signals = {}) {
  if (!waiting.size) requestAnimationFrame(() => setTimeout(drawAll));
  waiting.set(plot, { spec, points, signals });
}
function drawAll() {
  const due = [...waiting];
  waiting.clear();
  for (const [plot, wanted] of due) if (plot.isConnected) drawOne(plot, wanted);
}
async function drawOne(plot, { spec, points, signals }) {
  if (!views.has(plot)) {
    views.set(plot, vegaEmbed(plot, spec, {
      mode: "vega", ast: true, renderer: "svg", actions: false, defaultStyle: false, logLevel: 1,
      tooltip: (handler, event, item, value) => showTip(value, event.clientX, event.clientY),
    }));
  }
  const { view } = await views.get(plot);
  for (const [name, value] of Object.entries(signals)) view.signal(name, value);
  view.data("points", points).resize().runAsync();
}
