// Predictions of two runs side by side. They lie packed in the page and are unpacked when they are first looked at.

const PAGE = 25, RIGHT = 0.5, NONE = 65535, SCALE = 10000, OWN = "";
const unpacked = new Map();
const LABELS = { all: "all questions", right: "both right", lost: "only A right", gained: "only B right", wrong: "both wrong", differ: "other answers" };
let latest = 0;

function bytesOf(name) {
  if (!unpacked.has(name)) {
    const element = byId(name);
    if (!element) return Promise.resolve(null);
    const raw = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
    unpacked.set(name, new Response(stream).arrayBuffer());
  }
  return unpacked.get(name);
}

async function sharedOf(id) {
  const name = `shared:${id}`;
  if (!unpacked.has(name + ":parsed")) {
    const buffer = await bytesOf(name);
    unpacked.set(name + ":parsed", buffer && JSON.parse(new TextDecoder().decode(buffer)));
  }
  return unpacked.get(name + ":parsed");
}

// Return {row: {list, texts, scores}} of one run.
async function rowsOf(sectionId, run) {
  const buffer = await bytesOf(`run:${sectionId}:${run}`);
  const rows = new Map();
  if (!buffer) return rows;
  const view = new DataView(buffer);
  for (let at = 0; at < buffer.byteLength; ) {
    const [row, list, count, metrics] = [0, 4, 8, 12].map((k) => view.getUint32(at + k, true));
    const texts = at + 16, scores = texts + 4 * count, length = metrics * count;
    rows.set(row, { list, text: (k) => view.getUint32(texts + 4 * k, true),
      score: (m, k) => { const code = m < metrics ? view.getUint16(scores + 2 * (m * count + k), true) : NONE; return code === NONE ? null : code / SCALE; } });
    at = scores + 2 * (length + (length % 2));
  }
  return rows;
}

function pairOf() {
  const runs = section().runs, ids = runs.map((run) => run.id), methods = section().methods;
  const a = ids.includes(state.a) ? state.a : methods[0].runs[0];
  const seed = runs.find((run) => run.id === a).seed;
  const other = methods.find((method) => !method.runs.includes(a));
  const like = other && runs.find((run) => run.method === other.id && run.seed === seed);
  const b = ids.includes(state.b) ? state.b : like ? like.id : other ? other.runs[0] : a;
  return [a, b];
}
const runName = (id) => { const run = section().runs.find((one) => one.id === id); return `${section().methods.find((one) => one.id === run.method).name}, seed ${run.seed}`; };

function chooseRow(rows, wish, fallback) {
  const known = [...rows.keys()];
  return known.includes(Number(wish)) && wish !== "" ? Number(wish) : known.includes(fallback) ? fallback : known[known.length - 1];
}

async function renderExamples() {
  const turn = ++latest, place = section().id, [a, b] = pairOf();
  const named = section().runs.map((run) => [run.id, runName(run.id)]);
  options(byId("a"), named, a);
  options(byId("b"), named, b);
  if (typeof DecompressionStream === "undefined") return explain("This browser is too old to unpack the examples.");
  const [shared, rowsA, rowsB] = await Promise.all([sharedOf(place), rowsOf(place, a), rowsOf(place, b)]);
  if (turn !== latest) return;
  if (!shared || !rowsA.size || !rowsB.size) return explain("The predictions of these runs are not in this report.");
  const last = Math.max(...rowsA.keys()), ra = chooseRow(rowsA, state.ra, last), rb = chooseRow(rowsB, state.rb, a === b && state.rb === "" ? 1 : ra);
  const times = (rows) => [...rows.keys()].map((row) => [String(row), row ? `task ${row}` : "nothing"]);
  options(byId("ra"), times(rowsA), String(ra));
  options(byId("rb"), times(rowsB), String(rb));
  const scored = shared.metrics, chosen = scored.includes(state.xm) ? state.xm : scored.includes(metric()) ? metric() : OWN;
  options(byId("xm"), [...(scored.includes(section().primary) ? [] : [[OWN, "each test's own"]]), ...scored.map((name) => [name, name])], chosen);
  const order = chosen === OWN ? scored.map((_, m) => m) : [scored.indexOf(chosen)];
  show(pairs(shared, rowsA.get(ra), rowsB.get(rb), order), { a: `${runName(a)}, after task ${ra}`, b: `${runName(b)}, after task ${rb}` });
}

function explain(text) {
  byId("tiles").replaceChildren();
  byId("example-list").replaceChildren();
  byId("pager").replaceChildren();
  byId("example-status").textContent = text;
}

// A score is the first of the metrics in `order` that the question has: tests of one stream may have different ones.
function pairs(shared, one, other, order) {
  const first = (run, k) => { for (const m of order) { const value = run.score(m, k); if (value !== null) return value; } return null; };
  const inB = new Map(shared.lists[other.list].map((question, k) => [question, k]));
  const found = [];
  shared.lists[one.list].forEach((question, k) => {
    const at = inB.get(question);
    if (at === undefined) return;
    const [test, id, prompt, target] = shared.questions[question];
    const scoreA = first(one, k), scoreB = first(other, at);
    const [rightA, rightB] = [scoreA, scoreB].map((value) => value !== null && value >= RIGHT);
    const kind = rightA ? (rightB ? "right" : "lost") : rightB ? "gained" : "wrong";
    found.push({ test, id, prompt, target, kind, answers: [shared.texts[one.text(k)], shared.texts[other.text(at)]], scores: [scoreA, scoreB] });
  });
  return found;
}

function show(all, names) {
  const tests = [...new Set(all.map((pair) => pair.test))], test = tests.includes(state.test) ? state.test : "";
  options(byId("test"), [["", "all tests"], ...tests.map((name) => [name, name])], test);
  const wanted = state.q.toLocaleLowerCase();
  const inReach = all.filter((pair) => (!test || pair.test === test) &&
    (!wanted || [pair.prompt, pair.target, pair.id, ...pair.answers].some((text) => text.toLocaleLowerCase().includes(wanted))));
  const fits = (pair, kind) => kind === "all" || (kind === "differ" ? pair.answers[0] !== pair.answers[1] : pair.kind === kind);
  const changed = state.changed in LABELS ? state.changed : "all";
  byId("tiles").replaceChildren(...Object.entries(LABELS).map(([kind, label]) => h("button",
    { type: "button", "aria-pressed": String(kind === changed), "data-kind": kind, onclick: () => { change({ changed: kind, page: "1" }); } },
    h("b", {}, inReach.filter((pair) => fits(pair, kind)).length.toLocaleString("en")), h("span", {}, label))));
  const chosen = inReach.filter((pair) => fits(pair, changed));
  const pages = Math.max(1, Math.ceil(chosen.length / PAGE)), page = Math.min(pages, Math.max(1, Number(state.page) || 1));
  byId("example-status").textContent = all.length ? `A: ${names.a}. B: ${names.b}. ${chosen.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} questions, ${section().label}.`
    : "A and B were not evaluated on the same questions: where data are generated for each seed, compare runs of one seed.";
  byId("example-list").replaceChildren(...chosen.slice((page - 1) * PAGE, page * PAGE).map(exampleCard));
  const turn = (to, label) => h("button", { type: "button", disabled: to < 1 || to > pages, onclick: () => { change({ page: String(to) }); jump("examples"); } }, label);
  byId("pager").replaceChildren(...(pages > 1 ? [turn(page - 1, "← Previous"), `page ${page} of ${pages}`, turn(page + 1, "Next →")] : []));
}

function exampleCard(pair) {
  const answer = (letter, k) => {
    const value = pair.scores[k], right = value !== null && value >= RIGHT;
    return [h("dt", {}, letter), h("dd", {}, pair.answers[k] === "" ? h("span", { class: "empty" }, "empty") : pair.answers[k]),
      h("dd", { class: "verdict " + (right ? "right" : "wrong") }, value === null ? "no score" : `${right ? "✓" : "✗"} ${trim(value)}`)];
  };
  return h("article", { class: "example", "data-kind": pair.kind },
    h("div", {}, h("pre", {}, pair.prompt), h("div", { class: "meta" }, `${pair.test} · ${pair.id}`)),
    h("dl", {}, h("dt", {}, "expected"), h("dd", {}, pair.target.trim()), h("dd", {}), answer("A", 0), answer("B", 1)));
}
