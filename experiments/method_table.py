"""Compare the technique families on five tasks that interfere; each method with its best setting on validation.

    python experiments/method_table.py                  # run what is missing, then write the tables
    python experiments/method_table.py --rows ewc l2    # only these rows' runs
    python experiments/method_table.py --table-only     # from the run folders alone

`data=world_skills` with `model=tiny`. Every method is first run once with each of its settings in `method_settings.py`
on the validation split; the setting with the best average accuracy (AA) is run on the test split with every seed. All
methods have the same steps on new data and, where they train an adapter, the same one. Each cell is one `cmt run` whose
folder is kept. The tables go to experiments/results/ and method_table.md also between the markers of docs/results.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from method_settings import BASELINE, ROWS, Row
from tables import RESULTS, ROOT, average, finished, last_row, publish, run, shown, slug

from cmt_cli.config import catalog
from cmt_cli.core.result import RunResult

FIXED = ("data=world_skills",)
ON_VALIDATION = ("data.stream_split=validation", "evaluator.rows=last")
SWEEP_SEED = 0
METRICS = ("aa", "aia", "fgt", "bwt", "fwd_zero_shot")
HEAD = ("method", "family", "seeds", "AA", "AIA", "FGT", "BWT", "FWD", "trained", "stored", "training")


def folder_of(runs: Path, name: str, setting: Sequence[str]) -> Path:
    """Return the folder of one row's runs with one setting."""
    parts = [override.partition("=") for override in setting]
    return runs / slug(name) / ("+".join(f"{key.split('.')[-1]}-{value}" for key, _, value in parts) or "default")


def ensure(folder: Path, overrides: Sequence[str], seed: int) -> None:
    """Run a cell unless its folder holds a complete run of that seed."""
    if not any(result.seed == seed for result in finished(folder.parent).get(folder.name, [])):
        print(f"== {folder.parent.name}, {folder.name}, seed {seed}", flush=True)
        run(folder, [*FIXED, *overrides], seed)


def best_setting(runs: Path, name: str, row: Row) -> tuple[Sequence[str] | None, dict[str, float]]:
    """Return the setting with the best AA on validation, the first of equals, and all that were run."""
    scores: dict[str, float] = {}
    best: Sequence[str] | None = None
    for setting in row.settings:
        folder = folder_of(runs, name, setting)
        found = finished(folder.parent).get(folder.name, [])
        if not found:
            continue
        score = last_row(found[0], "em") or 0.0
        if best is None or score > max(scores.values()):
            best = setting
        scores[folder.name] = score
    return best, scores


def run_row(runs: Path, name: str, row: Row, seeds: Sequence[int]) -> None:
    """Run a row's settings on validation, then the best of them on test."""
    if len(row.settings) > 1:
        for setting in row.settings:
            ensure(folder_of(runs / "sweep", name, setting), [*row.as_overrides(setting), *ON_VALIDATION], SWEEP_SEED)
    best, _ = best_setting(runs / "sweep", name, row)
    chosen = best if best is not None else row.settings[0]
    for seed in seeds:
        ensure(folder_of(runs / "test", name, chosen), row.as_overrides(chosen), seed)


def results_of(runs: Path) -> dict[str, list[RunResult]]:
    """Return the complete test runs of each row with its best setting."""
    rows = {}
    for name, row in ROWS.items():
        best, _ = best_setting(runs / "sweep", name, row)
        folder = folder_of(runs / "test", name, best if best is not None else row.settings[0])
        if found := finished(folder.parent).get(folder.name, []):
            rows[name] = sorted(found, key=lambda result: result.seed)
    return rows


def table(rows: Mapping[str, Sequence[RunResult]]) -> str:
    """Return the comparison as markdown, a row per method."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for name, results in rows.items():
        scores = [shown([r.metrics[m].value for r in results], "{:.3f}") for m in METRICS]
        cost = results[0].cost
        cells = [
            name,
            catalog.find("method", ROWS[name].method, [catalog.conf_dir()]).facts["family"],
            str(len(results)),
            *scores,
            f"{cost.trainable_parameters:,}",
            f"{cost.storage_bytes / 1024:,.0f} KiB",
            shown([r.cost.train_seconds for r in results], "{:.0f}") + " s",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def not_better(rows: Mapping[str, Sequence[RunResult]]) -> list[str]:
    """Return the methods whose mean AA does not exceed the baseline's by more than both deviations."""
    if BASELINE not in rows:
        return []
    limit, spread = average(rows[BASELINE])
    found = {name: average(results) for name, results in rows.items() if name != BASELINE}
    return [name for name, (mean, deviation) in found.items() if mean <= limit + spread + deviation]


def settings_table(runs: Path) -> str:
    """Return AA on validation of every setting, the chosen ones in bold."""
    lines = ["| method | AA on validation by setting |", "|---|---|"]
    for name, row in ROWS.items():
        best, scores = best_setting(runs / "sweep", name, row)
        chosen = folder_of(runs, name, best).name if best is not None else None
        cells = [f"**{key} {score:.3f}**" if key == chosen else f"{key} {score:.3f}" for key, score in scores.items()]
        lines.append(f"| {name} | {'; '.join(cells) or 'one setting, nothing to choose'} |")
    return f"Seed {SWEEP_SEED}, generated data, settings as in experiments/method_settings.py\n\n" + "\n".join(lines)


def report(rows: Mapping[str, Sequence[RunResult]]) -> str:
    """Return the table, its heading and who is no better than the baseline."""
    source = ", ".join(sorted({str(result.data["source"]) for results in rows.values() for result in results}))
    weak = not_better(rows)
    remark = (
        f"AA not above that of `{BASELINE}` by more than both deviations, at the best setting tried on validation "
        f"(`experiments/results/method_settings.md`): {', '.join(weak)}."
        if weak
        else ""
    )
    return f"**Five tasks one after the other** ({source} data, `model=tiny`)\n\n{table(rows)}\n\n{remark}".rstrip()


def main() -> None:
    """Run the grid and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "method_table")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table_only:
        for name in arguments.rows:
            run_row(arguments.runs, name, ROWS[name], arguments.seeds)
    rows = results_of(arguments.runs)
    RESULTS.mkdir(exist_ok=True)
    publish("method_settings", settings_table(arguments.runs))
    publish("method_table", report(rows))


if __name__ == "__main__":
    main()
