// Trends: the chosen figure in every session of a condition on one machine; nothing is pooled.
function trends() {
  const found = [...Map.groupBy(data.comparisons, (one) => one.condition)]
    .filter(([, sessions]) => new Set(sessions.map((one) => one.session)).size > 1)
    .map(([, sessions]) => {
      const parts = { caption: el("figcaption"), legend: el("ul", { class: "legend" }), plot: el("div", { class: "plot" }), below: el("div") };
      const figure = el("figure", {}, el("h3", {}, sessions[0].title, el("span", { class: "quiet" }, [sessions[0].facts, ...sessions[0].machine].join(" · "))), Object.values(parts));
      return { figure, refresh: () => trend(sessions, figure, parts) };
    });
  fill("trends", ...(found.length ? found.map((one) => one.figure) : [el("p", { class: "quiet" }, "A trend needs two sessions of one condition on one machine.")]));
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
      time: one.started_ms, opacity: few ? 1 : 0.35, segment: segmentOf(one, at, model),
    }));
  });
  caption.textContent = `${axisText(newest, newest.metrics.indexOf(state.metric))} · a line joins sessions with the same versions, file and data`;
  legend.replaceChildren(...(few ? labels.map((label, number) => el("li", {}, swatch(COLORS[number]), label))
    : [el("li", {}, `${labels.length} models: filter to ${COLORS.length} or fewer for colours, hover for names.`)]));
  below.replaceChildren(hollow(points));
  draw(plot, specs.trend, points);
}
// Only like figures are joined: of one file, the same versions, obtained in the same way, and quality on the same data.
const segmentOf = (one, at, model) => [model.label, data.models[model.model].sha256, one.fingerprint, model.cells[at].kind,
  metrics.get(one.metrics[at]).section === "Quality" ? one.data : ""].join("\n");
function swatch(color) {
  const dot = el("i");
  dot.style.background = color;
  return dot;
}
