// Lays out what Python computed: comparisons, trends, models and their profiles, runs.
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

// Comparisons: one session under one condition each, laid out when it is opened.
function comparison(one) {
  const where = `${one.facts} · ${minute(one.started)} · session ${one.session}`;
  const details = el("details", {}, el("summary", {}, one.title, el("span", { class: "quiet" }, where)));
  const found = { one, details, refresh: null };
  details.addEventListener("toggle", () => details.open && open(found));
  return found;
}
function open(found) {
  if (found.refresh) return;
  const { one, details } = found;
  const caption = el("figcaption"), plot = el("div", { class: "plot" }), below = el("div"), place = el("div");
  details.append(el("div", {}, one.caption.slice(1).map((line) => el("p", { class: "caption" }, line)), place,
    notesOf(one), el("figure", {}, caption, plot, below)));
  let many = null;
  found.refresh = () => {
    const models = shownIn(one), at = one.metrics.indexOf(state.metric);
    if (models.length <= SIDE_BY_SIDE) place.replaceChildren(byMetric(one, models, (metric) => metric.main));
    else {
      many ??= byModel(one);
      if (place.firstChild !== many.node) place.replaceChildren(many.node);
      many.show((model) => shows(one.target, model.label));
    }
    const points = at < 0 ? [] : models.filter(hasFigure(at))
      .map((model) => pointOf(one, at, one.units[at], model, model === one.models[0] ? "var(--quiet)" : COLORS[0]));
    plot.hidden = !points.length;
    caption.textContent = points.length ? axisText(one, at) : `No figure here for ${metrics.get(state.metric).label}.`;
    below.replaceChildren(hollow(points));
    if (points.length) draw(plot, specs.models, points, { zero: metrics.get(state.metric).zero });
  };
  found.refresh();
}
const headOf = (one, model) => [
  `${model.label}${model === one.models[0] && one.models.length > 1 ? " (baseline)" : ""} `,
  model.flags.length ? tipped(count(model.flags.length, "flag"), model.flags.join("\n"), "badge") : null,
];
const notesOf = (one) => el("ul", { class: "notes" },
  one.notes.map((note) => el("li", /^(FAILED|WARNING)/.test(note) ? { class: "loud" } : {}, note)));
const figureOf = (found) => el("div", { class: "figure" },
  el("span", found.value === undefined || found.kind === "recorded" ? { class: "muted" } : {}, found.text),
  el("span", { class: "detail" }, found.detail ?? ""),
  el("span", { class: `versus ${found.versus?.tone ?? ""}` }, found.versus ? [`${found.versus.text} `, el("span", {}, found.versus.detail)] : null));

/** Metrics from top to bottom, models from left to right. */
function byMetric(one, models, wanted) {
  const body = el("tbody");
  let section = "";
  one.metrics.forEach((name, at) => {
    const metric = metrics.get(name);
    if (!wanted(metric)) return;
    if (metric.section !== section) {
      section = metric.section;
      const word = models.some((model) => model.cells[at].versus) ? el("span", { class: "quiet" }, ` vs ${one.models[0].label}: ${metric.word}`) : null;
      body.append(el("tr", { class: "section" }, el("th", { scope: "rowgroup", colspan: models.length + 1 }, section, word)));
    }
    body.append(el("tr", {}, el("th", { scope: "row" }, one.labels[at]), models.map((model) => el("td", {}, figureOf(model.cells[at])))));
  });
  const head = el("tr", {}, el("th", { scope: "col" }, "Metric"), models.map((model) => el("th", { scope: "col" }, headOf(one, model))));
  return boxed(`${one.title}: metric by model`, el("thead", {}, head), body, "by-metric");
}
/** Models from top to bottom, sorted by any metric. */
function byModel(one) {
  const main = one.metrics.map((name, at) => ({ at, ...metrics.get(name) })).filter((metric) => metric.main);
  const groups = [["", 1]];
  for (const { section } of main) {
    if (groups.at(-1)[0] === section) groups.at(-1)[1] += 1; else groups.push([section, 1]);
  }
  return table(`${one.title}: model by metric`, [
    { label: "Model", sort: (model) => model.label, cell: (model) => headOf(one, model) },
    ...main.map(({ at }) => ({ label: one.labels[at], sort: (model) => model.cells[at].value ?? null, cell: (model) => figureOf(model.cells[at]) })),
  ], one.models, groups);
}

// Trends: the chosen figure in every session of a condition; nothing is pooled.
function trends() {
  const found = [...Map.groupBy(data.comparisons, (one) => one.condition)]
    .filter(([, sessions]) => new Set(sessions.map((one) => one.session)).size > 1)
    .map(([, sessions]) => {
      const parts = { caption: el("figcaption"), legend: el("ul", { class: "legend" }), plot: el("div", { class: "plot" }), below: el("div") };
      const figure = el("figure", {}, el("h3", {}, sessions[0].title, el("span", { class: "quiet" }, sessions[0].facts)), Object.values(parts));
      return { figure, refresh: () => trend(sessions, figure, parts) };
    });
  fill("trends", ...(found.length ? found.map((one) => one.figure) : [el("p", { class: "quiet" }, "A trend needs two sessions of one condition.")]));
  return found;
}
function trend(all, figure, { caption, legend, plot, below }) {
  const sessions = all.filter((one) => one.models.some((model) => model.cells[one.metrics.indexOf(state.metric)]?.value !== undefined));
  const labels = [...new Set(sessions.flatMap((one) => shownIn(one).map((model) => model.label)))];
  figure.hidden = !labels.length;
  if (!labels.length) return;
  const [newest] = sessions, few = labels.length <= COLORS.length;
  const units = newest.units[newest.metrics.indexOf(state.metric)]; // of all sessions
  const points = sessions.flatMap((one) => {
    const at = one.metrics.indexOf(state.metric);
    return shownIn(one).filter(hasFigure(at)).map((model) => ({
      ...pointOf(one, at, units, model, few ? COLORS[labels.indexOf(model.label)] : "var(--quiet)"),
      time: one.started_ms, opacity: few ? 1 : 0.35, segment: [model.label, one.fingerprint, metrics.get(state.metric).section === "Quality" ? one.data : ""].join("\n"),
    }));
  });
  caption.textContent = `${axisText(newest, newest.metrics.indexOf(state.metric))} · a line joins sessions of one machine, the same versions and data`;
  legend.replaceChildren(...(few ? labels.map((label, number) => el("li", {}, swatch(COLORS[number]), label))
    : [el("li", {}, `${labels.length} models: filter to ${COLORS.length} or fewer for colours, hover for names.`)]));
  below.replaceChildren(hollow(points));
  draw(plot, specs.trend, points);
}
function swatch(color) {
  const dot = el("i");
  dot.style.background = color;
  return dot;
}

// Models, and the profile of the one that is chosen.
const FACTS = [["method", "Method"], ["parent", "Parent"], ["precision", "Precision"], ["parameters", "Parameters", "number"],
  ["model_bytes", "File size", "number"], ["bits_per_weight", "Bits a weight, learned", "number"],
  ["bits_per_weight_stored", "Bits a weight, stored", "number"]];
function models() {
  const made = table("Models", [
    { label: "Model", sort: (model) => model.label, cell: profileButton },
    { label: "Target", sort: (model) => model.target, cell: (model) => model.target },
    ...FACTS.map(([name, label, kind]) => ({ label, kind, sort: (model) => model.facts[name]?.value ?? null, cell: (model) => model.facts[name]?.text ?? "–" })),
    { label: "Runs", kind: "number", sort: (model) => model.runs, cell: (model) => String(model.runs) },
    { label: "Failed", kind: "number", sort: (model) => model.failed, cell: (model) => el("span", { class: model.failed ? "failed" : "" }, String(model.failed)) },
  ], data.models.map((model, number) => ({ ...model, number })));
  fill("models", el("p", { class: "caption" }, "A name shows the model's profile below the table; – stands where no manifest says."), made.node);
  return made;
}
function profileButton(model) {
  const button = el("button", { type: "button", class: "link", "aria-controls": "profile" }, model.label);
  button.addEventListener("click", () => { profile(model.number); byId("profile").focus(); });
  return button;
}
function profile(number) {
  state.profile = number;
  const model = data.models[number];
  const facts = [["Target", model.target], ["sha256", model.sha256 ?? "unknown"], ...FACTS.map(([name, label]) => [label, model.facts[name]?.text ?? "–"])];
  const latest = new Map(); // comparisons are the newest first
  for (const one of data.comparisons) {
    const mine = one.models.find((other) => other.model === number);
    if (mine && !latest.has(one.condition)) latest.set(one.condition, [one, mine]);
  }
  byId("profile").replaceChildren(el("h3", { id: "h-profile" }, `Profile of ${model.label} on ${model.target}`),
    el("dl", {}, facts.map(([term, text]) => [el("dt", {}, term), el("dd", {}, text)])),
    ...[...latest.values()].flatMap(([one, mine]) => [el("h4", {}, `${keyOf(one)} · session ${one.session}, the newest`),
      byMetric(one, [mine], () => true), notesOf(one)]),
    ...operators(model), ...storage(model));
}
function operators(model) {
  const title = el("h4", {}, "Operators");
  if (!model.operators.length) return [title, el("p", { class: "quiet" }, "Not measured: no run of this model has times of operators.")];
  const plot = el("div", { class: "plot" });
  const rows = model.operators.map((one) => ({ ...one, color: COLORS[0], label: one.delegate ? `${one.operator} (${one.delegate})` : one.operator,
    tip: `${one.operator} ${one.delegate}\n${one.text}, ${one.percent} of all\n${one.calls} calls` }));
  draw(plot, specs.operators, rows);
  return [title, el("p", { class: "caption" }, `Share of the time of all operators, over all processes; times: ${model.operators_kind}.`), el("figure", {}, plot),
    table(`Operators of ${model.label}`, [
      { label: "Operator", sort: (row) => row.operator, cell: (row) => row.operator },
      { label: "Delegate", sort: (row) => row.delegate, cell: (row) => row.delegate },
      { label: "Calls", kind: "number", sort: (row) => row.calls, cell: (row) => row.calls.toLocaleString("en") },
      { label: "Total", kind: "number", sort: (row) => row.total_ns, cell: (row) => row.text },
      { label: "Share", kind: "number", sort: (row) => row.total_ns, cell: (row) => row.percent },
    ], rows).node];
}
function storage(model) {
  if (!model.storage.length) return [];
  return [el("h4", {}, "Storage, median over processes"), table(`Storage of ${model.label}`, [
    { label: "Phase", cell: (row) => row.phase },
    { label: "Asked for", kind: "number", cell: (row) => row.asked ?? "–" },
    { label: "Read from the device", kind: "number", cell: (row) => row.read ?? "–" },
    { label: "Major faults", kind: "number", cell: (row) => row.faults ?? "–" },
  ], model.storage).node];
}

// Runs: one worker process each.
function runs() {
  const modelOf = (run) => data.models[run.model];
  const status = (run) => run.status === "ok" ? "ok" : [el("span", { class: "failed" }, run.status), run.error ? `: ${run.error}` : null,
    run.stderr ? el("details", {}, el("summary", {}, "stderr"), el("pre", {}, run.stderr)) : null];
  const made = table("Runs", [
    { label: "Model", sort: (run) => modelOf(run).label, cell: (run) => tipped(modelOf(run).label, `session: ${run.session}\n${data.conditions[run.conditions]}`) },
    { label: "Target", sort: (run) => modelOf(run).target, cell: (run) => modelOf(run).target },
    { label: "Started, UTC", sort: (run) => run.started, cell: (run) => run.started.slice(0, 19).replace("T", " ") },
    { label: "Scenario", sort: (run) => run.scenario, cell: (run) => run.scenario },
    { label: "Pass", sort: (run) => run.pass, cell: (run) => run.pass },
    { label: "Block", kind: "number", sort: (run) => run.block, cell: (run) => String(run.block ?? "–") },
    { label: "Took", kind: "number", sort: (run) => run.took_s, cell: (run) => (run.took_s === null ? "–" : `${run.took_s.toFixed(1)} s`) },
    { label: "Status", kind: "wide", sort: (run) => run.status, cell: status },
    { label: "Flags", kind: "wide", sort: (run) => run.flags.length, cell: (run) => run.flags.map((flag) => tipped(flag, data.flags[flag], "badge")) },
  ], data.runs);
  fill("runs", el("p", { class: "caption" }, "One worker process each, the newest first; a name shows its conditions, a flag its meaning."), made.node);
  return made;
}

// The page, and what the filters do to it.
const options = (select, entries) => select.append(...entries.map(([value, text]) => el("option", { value }, text)));
const distinct = (values) => [...new Set(values)];
options(byId("target"), [["", "all"], ...distinct(data.models.map((model) => model.target)).map((target) => [target, target])]);
options(byId("models-known"), distinct(data.models.map((model) => model.label)).map((label) => [label, label]));
for (const section of distinct(data.metrics.map((metric) => metric.section))) {
  const group = el("optgroup", { label: section });
  options(group, data.metrics.filter((metric) => metric.section === section).map((metric) => [metric.name, metric.label]));
  byId("metric").append(group);
}
const names = (wanted) => new Set(data.models.filter((_, number) => wanted(number)).map((model) => model.label)).size;
const comparisons = data.comparisons.map(comparison);
fill("comparisons", ...(comparisons.length ? comparisons.map((one) => one.details) : [el("p", { class: "quiet" }, "Nothing here can be compared.")]));
const modelTable = models(), runTable = runs(), trendFigures = trends();

function refresh() {
  state.target = byId("target").value;
  state.words = byId("model").value.toLowerCase().split(",").map((word) => word.trim()).filter(Boolean);
  state.metric = byId("metric").value;
  for (const found of comparisons) {
    found.details.hidden = !shownIn(found.one).length;
    if (found.details.open && !found.details.hidden) found.refresh?.();
  }
  const left = data.runs.filter((run) => showsModel(run.model)).length;
  modelTable.show((model) => shows(model.target, model.label));
  runTable.show((run) => showsModel(run.model));
  byId("shown").textContent = `${names(showsModel)} of ${count(names(() => true), "model")}, ${left.toLocaleString("en")} of ${count(data.runs.length, "run")}`;
  trendFigures.forEach((one) => one.refresh());
  const first = showsModel(state.profile) ? -1 : data.models.findIndex((_, number) => showsModel(number));
  if (first >= 0) profile(first);
}
for (const id of ["target", "model", "metric"]) byId(id).addEventListener("input", refresh);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
refresh();
profile(0);
if (comparisons.length) {
  comparisons[0].details.open = true;
  open(comparisons[0]);
}
performance.mark("drawn");
