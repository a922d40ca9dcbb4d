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
