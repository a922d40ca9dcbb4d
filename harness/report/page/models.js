// Models, and the profile of the one that is chosen.
const FACTS = data.model_facts;
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
