// What Python computed, which part of it the filters let through, and what charts share.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const specs = JSON.parse(byId("specs").textContent);
const metrics = new Map(data.metrics.map((metric) => [metric.name, metric]));
const COLORS = ["var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)"];
const SIDE_BY_SIDE = 4; // so many models stand in columns, as in the terminal; more in rows that can be sorted
const state = { target: "", words: [], metric: "", profile: 0 };

const shows = (target, label) =>
  (!state.target || state.target === target) &&
  (!state.words.length || state.words.some((word) => label.toLowerCase().includes(word)));
const showsModel = (number) => shows(data.models[number].target, data.models[number].label);
const shownIn = (one) => one.models.filter((model) => shows(one.target, model.label));
const keyOf = (one) => `${one.title} · ${one.facts}`;
const minute = (iso) => `${iso.slice(0, 16).replace("T", " ")} UTC`;
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
const fill = (section, ...nodes) => byId(section).querySelector(".content").append(...nodes);

// What charts share: one point a figure, hollow where it was not measured.
function pointOf(one, at, [divisor], model, color) {
  const found = model.cells[at];
  const [value, low, high] = [found.value, found.low, found.high].map((v) => (v === undefined ? null : v / divisor));
  const tip = [
    model.label, `${one.labels[at]}: ${found.text} ${found.detail || ""}`, found.kind && `${found.kind}, not measured`,
    found.versus && `vs ${one.models[0].label}: ${found.versus.text} ${found.versus.detail}`, keyOf(one),
    `session ${one.session}, ${minute(one.started)}`, ...model.flags,
  ].filter(Boolean).join("\n");
  const label = found.kind ? `${model.label} (${found.kind})` : model.label;
  return { value, low, high, tip, label, color, kind: found.kind, fill: found.kind ? "var(--page)" : color };
}
const hasFigure = (at) => (model) => model.cells[at].value !== undefined;
function axisText(one, at) {
  const { label, better } = metrics.get(one.metrics[at]);
  return [label, one.units[at][1], better && `${better} is better`].filter(Boolean).join(" · ");
}
function hollow(points) {
  const kinds = [...new Set(points.map((point) => point.kind).filter(Boolean))];
  return kinds.length ? el("p", { class: "caption" }, `Hollow: ${kinds.join(", ")}, not measured.`) : "";
}
