// Summary table, curves, trade-offs and matrices of the chosen section, score and methods.

const spread = (method, name) => {
  const [kind, key] = name in method.cost ? [method.cost, name] : [method.scores[metric()] || {}, name];
  return kind[key] || { mean: null, sd: null, values: [] };
};
const scoreNames = () => Object.keys(content.formulas).filter((name) => section().methods.some((one) => isNumber(spread(one, name).mean)));
const costNames = () => Object.keys(section().methods[0].cost).filter((name) => section().methods.some((one) => isNumber(spread(one, name).mean)));

function renderSummary() {
  const columns = [...scoreNames(), ...costNames()];
  const down = state.sort.startsWith("-"), by = state.sort.replace("-", "");
  const methods = [...section().methods];
  if (by === "name") methods.sort((one, other) => one.name.localeCompare(other.name) * (down ? -1 : 1));
  else {
    const value = (one) => { const mean = spread(one, by).mean; return isNumber(mean) ? mean : down ? -Infinity : Infinity; };
    methods.sort((one, other) => (value(one) === value(other) ? 0 : (value(one) - value(other)) * (down ? -1 : 1)));
  }
  const best = new Map(columns.map((name) => [name, bestOf(name, methods)]));
  const heading = (name, text, title) => h("th", { scope: "col", title, "aria-sort": by === name ? (down ? "descending" : "ascending") : null },
    h("button", { type: "button", onclick: () => change({ sort: by === name && down ? name : "-" + name }) }, text));
  const head = h("tr", {}, heading("name", "method"), h("th", { scope: "col" }, "seeds"), columns.map((name) => heading(name, NAMES[name] || name, content.formulas[name])));
  const rows = methods.map((method) => h("tr", {},
    h("th", { scope: "row", title: method.settings || method.name }, legendMark(indexOf(method)), method.name), h("td", {}, method.seeds.join(", ")),
    columns.map((name) => summaryCell(method, name, best.get(name)))));
  byId("summary-table").replaceChildren(h("table", { class: "data" }, h("caption", { hidden: true }, sourceNote()), h("thead", {}, head), h("tbody", {}, rows)));
}

function bestOf(name, methods) {
  const means = methods.map((one) => spread(one, name).mean).filter(isNumber);
  return name in section().methods[0].cost || means.length < 2 ? null : LOWER_IS_BETTER.has(name) ? Math.min(...means) : Math.max(...means);
}

function summaryCell(method, name, best) {
  const { mean, sd } = spread(method, name);
  if (!isNumber(mean)) return h("td", { class: "missing", title: reasonOf(method, name) }, "–");
  const isCost = name in method.cost;
  return h("td", { class: mean === best ? "best" : null }, isCost ? compact(mean) : score(mean), isNumber(sd) && !isCost ? h("span", { class: "sd" }, " ±" + score(sd)) : null);
}

function reasonOf(method, name) {
  const run = section().runs.find((one) => one.id === method.runs[0]);
  return run.reasons[metric() === section().primary ? name : `${metric()}/${name}`] || "not measured";
}

function renderChips() {
  const shown = new Set(shownMethods());
  byId("chips").replaceChildren(...section().methods.map((method, i) => h("button",
    { type: "button", "aria-pressed": String(shown.has(method)), "data-id": method.id, title: method.settings || method.name, onclick: () => toggle(method) },
    legendMark(i), h("span", {}, method.name))));
}

function renderLegends() {
  for (const legend of document.querySelectorAll("[data-legend]")) {
    legend.replaceChildren(...shownMethods().map((method) => h("span", {}, legendMark(indexOf(method)), method.name)));
  }
}

function toggle(method) {
  const shown = new Set(shownMethods().map((one) => one.id));
  if (!shown.delete(method.id)) shown.add(method.id);
  change({ s: [...shown].join(",") || "none" });
  byId("chips").querySelector(`[data-id="${CSS.escape(method.id)}"]`).focus();
}

function series(points) {
  return shownMethods().map((method) => ({ index: indexOf(method), name: method.name, points: points(method) || [] })).filter((one) => one.points.length);
}
const curve = (name) => series((method) => method.curves[metric()]?.[name]);
const isFraction = () => section().methods.every((one) => (one.mean[metric()] || []).flat().every((v) => v === null || (v >= 0 && v <= 1)));

function picker(label, key, entries, value) {
  const select = h("select", { onchange: () => change({ [key]: select.value }) });
  options(select, entries, value);
  return h("label", {}, label, select);
}

function renderCurves() {
  const unit = isFraction(), y = metric();
  lineChart(byId("chart-so-far"), { title: "What is known so far", series: curve("so_far"), x: "tasks learned", y, unit, note: "mean over the tasks learned until then" });
  lineChart(byId("chart-by-age"), { title: "Retention by age", series: curve("by_age"), x: "tasks learned since", y, unit, note: "score on a task as later tasks come in, mean over tasks" });
  lineChart(byId("chart-forgotten"), { title: "Forgetting so far", series: curve("forgotten"), x: "tasks learned", y: "forgetting", note: "best earlier score minus the present one, mean over earlier tasks; lower is better" });
  const tests = section().tests, test = tests.includes(state.t) ? state.t : tests[0], column = tests.indexOf(test);
  const points = (method) => (method.mean[y] || []).map((row, i) => [i, row[column], 0]).filter((point) => isNumber(point[1]));
  lineChart(byId("chart-test"), { title: "One test over time", series: series(points), x: "tasks learned", y, unit, note: "mean over seeds",
    control: picker("Test", "t", tests.map((name) => [name, name]), test) });
}

function renderTradeoffs() {
  const costs = costNames(), cost = costs.includes(state.cost) ? state.cost : costs[0];
  const named = (names) => names.map((name) => [name, NAMES[name] || name]);
  scatter(byId("chart-cost"), { title: "Score against cost", dots: dots(cost, "aa"), x: NAMES[cost] || cost, y: `AA (${metric()})`, log: true,
    control: picker("Cost", "cost", named(costs), cost), note: "large: mean, small: seeds; costs on a logarithmic axis" });
  const kinds = ["fgt", "bwt", "retention"].filter((name) => scoreNames().includes(name)), kind = kinds.includes(state.y) ? state.y : kinds[0];
  scatter(byId("chart-balance"), { title: "Stability against plasticity", dots: kind ? dots("learning_accuracy", kind) : [],
    x: "learning accuracy, mean of the diagonal (plasticity)", y: NAMES[kind] || "", control: picker("Stability", "y", named(kinds), kind),
    note: kind === "fgt" ? "lower and further right is better" : "higher and further right is better" });
}

function dots(x, y) {
  return shownMethods().map((method) => {
    const [one, other] = [spread(method, x), spread(method, y)];
    const seeds = one.values.map((value, k) => [value, other.values[k]]).filter((point) => point.every(isNumber));
    return { index: indexOf(method), name: method.name, x: one.mean, y: other.mean, seeds: seeds.length > 1 ? seeds : [] };
  }).filter((one) => isNumber(one.x) && isNumber(one.y));
}

function renderMatrices() {
  const seeds = [...new Set(section().runs.map((run) => String(run.seed)))];
  const seed = seeds.includes(state.seed) ? state.seed : "mean";
  options(byId("seed"), [["mean", "mean over seeds"], ...seeds.map((one) => [one, one])], seed);
  const found = shownMethods().map((method) => [method, matrixOf(method, seed)]).filter(([, rows]) => rows !== undefined);
  const values = found.flatMap(([, rows]) => (rows || []).flat()).filter(isNumber);
  const [low, high] = isFraction() || !values.length ? [0, 1] : [Math.min(...values), Math.max(...values)];
  byId("scale").replaceChildren(...scaleOf(low, high));
  byId("matrix-grid").style.setProperty("--wide", `${Math.max(16, section().tests.length * (section().tests.length > 16 ? 0.95 : 1.85) + 4.5)}rem`);
  byId("matrix-grid").replaceChildren(...found.map(([method, rows]) => matrixFigure(method, rows, seed, low, high)));
}

function matrixOf(method, seed) {
  if (seed === "mean") return method.mean[metric()];
  return section().runs.find((run) => run.method === method.id && String(run.seed) === seed)?.matrices[metric()];
}

function scaleOf(low, high) {
  const canvas = h("canvas", { width: content.ramp.length, height: 1 }), pen = canvas.getContext("2d");
  content.ramp.forEach((color, i) => { pen.fillStyle = color; pen.fillRect(i, 0, 1, 1); });
  return [trim(low), canvas, trim(high)];
}

function matrixFigure(method, rows, seed, low, high) {
  const title = h("figcaption", {}, h("b", {}, legendMark(indexOf(method)), method.name));
  const note = h("p", { class: "note" }, `${sourceNote()}, ${seed === "mean" ? "mean over seeds " + method.seeds.join(", ") : "seed " + seed}`);
  if (rows === null) return h("figure", {}, title, h("p", { class: "empty" }, "The seeds learned the tasks in different orders: choose one seed."), note);
  const learned = method.learned_at[metric()], tests = section().tests;
  const columns = tests.map((_, j) => j).sort((one, other) => (learned[one] ?? 1e9) - (learned[other] ?? 1e9) || one - other);
  const dense = tests.length > 16;
  const head = h("tr", {}, h("td", {}), columns.map((j) => h("th", { scope: "col", title: tests[j] }, h("span", {}, tests[j]))));
  const body = rows.map((row, i) => h("tr", {}, h("th", { scope: "row" }, String(i)), columns.map((j) => cell(rows, i, j, { learned, tests, dense, low, high }))));
  return h("figure", {}, title, h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Score matrix of ${method.name}` },
    h("table", { class: dense ? "heat dense" : "heat" }, h("thead", {}, head), h("tbody", {}, body))), note);
}

function cell(rows, i, j, { learned, tests, dense, low, high }) {
  const value = rows[i][j], when = i ? `after ${i} task${i > 1 ? "s" : ""}` : "before the first task";
  const kind = [learned[j] === i - 1 && "learned", learned[j] === null && "probe", value === null && "none"].filter(Boolean).join(" ");
  const text = `${tests[j]}, ${when}: ${value === null ? "no score, " + whyMissing(rows, i, j) : score(value, 4)}`;
  const td = h("td", { class: kind, "aria-label": dense || value === null ? text : null, onpointermove: (event) => showTip(text, event.clientX, event.clientY), onpointerleave: hideTip });
  if (value !== null) {
    const share = (value - low) / (high - low || 1);
    td.style.backgroundColor = rampColor(share);
    td.style.color = share >= content.dark_ink_from ? "#000" : "#fff";
    if (!dense) td.textContent = value >= 0.995 && value <= 1 ? "1.0" : value.toFixed(2).replace(/^(-?)0\./, "$1.");
  }
  return td;
}

function whyMissing(rows, i, j) {
  if (rows[i].every((value) => value === null)) return `no test was scored by ${metric()} at that time`;
  if (rows.every((row) => row[j] === null)) return `this test is not scored by ${metric()}`;
  return "this test was not evaluated at that time";
}
