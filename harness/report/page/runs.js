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
