"""Compare the methods on questions about a stream of documents, and what each costs.

    python experiments/qa_methods.py                 # run what is missing, then write the table
    python experiments/qa_methods.py --table-only    # from the run folders alone
    python experiments/qa_methods.py --keep --methods joint    # run one row; lines without runs here stay as published

The generated stream; every cell is one `cmt run` whose folder is kept, so a second call repeats nothing. The amortized
methods share encoder, steps and (within 10 %) trainable parameters. Tables go to experiments/results/ and between the
markers of docs/results.md, a shorter one of the methods to the README, the retention curves to docs/images/.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tables import IMAGES, RESULTS, ROOT, columns, finished, last_row, publish, run, shown, slug, with_rows

from cmt_cli.core.result import RunResult
from cmt_cli.reporting.retention_plot import plot_retention

RECIPE = ROOT / "cmt_cli" / "models" / "tiny" / "recipe.json"
METHODS = ("cmt", "mac", "mbc", "camels", "uniform", "salient_spans", "joint", "frozen", "bm25", "full_context")
NUM_META_STEPS = 1000  # of every amortized method
FIXED = (
    "data=streamingqa",
    "data.source=generated",
    f"trainer.meta.num_steps={NUM_META_STEPS}",
)
ABLATIONS = {
    "no memory-aware objective": "method.techniques.memory_aware_objective=false",
    "no self-matching": "method.techniques.self_matching=false",
    "no top-k aggregation": "method.techniques.top_k_aggregation=false",
}
SUMMARY = ("method", "seeds", "exact match", "token F1", "recall@1", "stored", "ms per answer")


def cells(seeds: Sequence[int]) -> Iterable[tuple[str, str, int, tuple[str, ...]]]:
    """Yield (group, row, seed, overrides) of every run, the ones that matter most first."""
    for seed in seeds:
        for method in METHODS:
            yield "methods", method, seed, (f"method={method}",)
    for seed in seeds:
        for row, switch in ABLATIONS.items():
            yield "ablation", row, seed, ("method=cmt", switch)


def table(rows: Mapping[str, Sequence[RunResult]]) -> str:
    """Return one markdown table; the rows are in the order given."""
    lines = [
        "| method | seeds | exact match | token F1 | retention (F1) | recall@1 | trained parameters | stored "
        "| ms per document | ms per answer |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, results in rows.items():
        adapt = [r.cost.adapt_seconds_per_document for r in results]
        retention = [r.metrics["f1/retention"].value if "f1/retention" in r.metrics else None for r in results]
        cells = [
            name,
            str(len(results)),
            shown([last_row(r, "em") for r in results], "{:.3f}"),
            shown([last_row(r, "f1") for r in results], "{:.3f}"),
            shown(retention, "{:.3f}"),
            shown([last_row(r, "recall_at_1") for r in results], "{:.3f}"),
            f"{results[0].cost.trainable_parameters:,}",
            f"{results[0].cost.storage_bytes / 1024:,.0f} KiB",
            shown([None if a is None else 1000 * a for a in adapt], "{:.1f}"),
            shown([r.cost.answer_ms_per_question for r in results], "{:.1f}"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(runs: Path) -> str:
    """Return the tables of all groups as markdown."""
    parts = []
    titles = {
        "methods": f"500 documents in 10 batches; {NUM_META_STEPS:,} meta-training steps",
        "ablation": "cmt with one technique off",
    }
    for group, title in titles.items():
        order = list(dict.fromkeys(row for g, row, _, _ in cells((0,)) if g == group))
        found = finished(runs / group)
        rows = {row: found[slug(row)] for row in order if slug(row) in found}
        if rows:
            source = ", ".join(sorted({str(r.data["source"]) for results in rows.values() for r in results}))
            parts.append(f"**{title}** ({source} data)\n\n{table(rows)}")
    return "\n\n".join(parts) or "No run is complete."


def summary(text: str) -> str:
    """Return the README's table: the first of the report's, with the columns that say most."""
    title, _, rest = text.partition("\n\n")
    return f"{title}\n\n{columns(rest.partition(chr(10) * 2)[0], SUMMARY)}"


def reading() -> str:
    """Return what the embedded model was measured to read, from its recipe."""
    found = json.loads(RECIPE.read_text(encoding="utf-8"))["measured_on_stream"]
    one, two, four = (found[f"exact_match_{number}_documents"] for number in (1, 2, 4))
    return (
        f"`model=tiny` answers from text in front with exact match {one:.3f} (one article), {two:.3f} (two) and "
        f"{four:.3f} (four), and without any {found['exact_match_closed_book']:.3f}; always guessing a relation's "
        f"commonest value gives {found['chance_of_commonest_answer']:.3f}."
    )


def main() -> None:
    """Run the grid and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "qa_methods")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--groups", nargs="+", default=["methods", "ablation"])
    parser.add_argument("--methods", nargs="+", default=None, help="rows to run; all unless given")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the published lines of rows without runs")
    arguments = parser.parse_args()
    for group, row, seed, overrides in cells(arguments.seeds):
        wanted = group in arguments.groups and row in (arguments.methods or [row])
        if wanted and not arguments.table_only:
            print(f"== {group}: {row}, seed {seed}", flush=True)
            run(arguments.runs / group / slug(row), [*FIXED, *overrides], seed)
    tables = report(arguments.runs)
    if arguments.keep:
        text = with_rows((RESULTS / "qa_methods.md").read_text(encoding="utf-8").rstrip("\n"), tables)
        publish("qa_methods", text)
        publish("qa_summary", summary(text))
        return
    publish("qa_methods", f"{tables}\n\n{reading()}")
    if "|" in tables:
        publish("qa_summary", summary(tables))
    curves = [
        folder for row in ("cmt", "mac", "uniform", "joint") if (folder := arguments.runs / "methods" / row).is_dir()
    ]
    if curves:
        plot_retention(curves, IMAGES / "retention.png", metric="f1")


if __name__ == "__main__":
    main()
