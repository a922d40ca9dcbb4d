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
