"""Compare six methods on a generated stream of each fine-tuning scenario; settings are chosen on validation.

    python experiments/scenario_table.py                        # run what is missing, then write the tables
    python experiments/scenario_table.py --scenarios entities   # only these scenarios' runs
    python experiments/scenario_table.py --table-only           # from the run folders alone

`model=tiny`. Where `scenario_settings.py` names several settings of a method, each is run once on the validation split
and the one with the best average accuracy (AA) is run on the test split with every seed. The table goes to
experiments/results/scenario_table.md and between the markers of docs/results.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from method_settings import Row
from method_table import folder_of
from scenario_settings import SCENARIOS, Scenario
from tables import ROOT, average, finished, publish, shown

from cmt_cli.core.result import RunResult

METHODS = ("frozen", "finetune", "lora", "replay", "ewc", "joint")
ON_VALIDATION = ("data.limits.stream_split=validation", "evaluator.rows=last")
SWEEP_SEED = 0


def run(folder: Path, overrides: Sequence[str], seeds: Sequence[int]) -> None:
    """Run the seeds that the folder holds no complete run of, one after the other in one process."""
    done = {result.seed for result in finished(folder.parent).get(folder.name, [])}
    missing = [str(seed) for seed in seeds if seed not in done]
    if missing:
        print(f"== {folder}, seeds {', '.join(missing)}", flush=True)
        cmt = Path(sys.executable).with_name("cmt")
        fixed = ["logger=none", f"paths.runs={folder}", f"seed={','.join(missing)}"]
        subprocess.run([cmt, "run", "--multirun", *fixed, *overrides], check=True, cwd=ROOT)


def best_setting(folder: Path, name: str, row: Row) -> tuple[Sequence[str], dict[str, float]]:
    """Return the setting with the best AA on validation, the first of equals, and AA of all that were run."""
    found = {setting: finished(place.parent).get(place.name, [])
             for setting in row.settings for place in [folder_of(folder, name, setting)]}  # fmt: skip
    scores = {setting: average(results)[0] for setting, results in found.items() if results}
    best = max(scores, key=lambda setting: scores[setting], default=row.settings[0])
    return best, {folder_of(folder, name, setting).name: score for setting, score in scores.items()}


def run_row(folder: Path, scenario: Scenario, name: str, seeds: Sequence[int]) -> None:
    """Run a row's settings on validation, then the best of them on test."""
    row = scenario.rows[name]
    if len(row.settings) > 1:
        for setting in row.settings:
            overrides = [*scenario.shared, *row.as_overrides(setting), *ON_VALIDATION]
            run(folder_of(folder / "sweep", name, setting), overrides, [SWEEP_SEED])
    chosen, _ = best_setting(folder / "sweep", name, row)
    run(folder_of(folder / "test", name, chosen), [*scenario.shared, *row.as_overrides(chosen)], seeds)


def results_of(folder: Path, scenario: Scenario) -> dict[str, list[RunResult]]:
    """Return the complete test runs of each method with its best setting."""
    found = {}
    for name in METHODS:
        best, _ = best_setting(folder / "sweep", name, scenario.rows[name])
        place = folder_of(folder / "test", name, best)
        if results := finished(place.parent).get(place.name, []):
            found[name] = results
    return found


def table(runs: Path, metric: str) -> str:
    """Return one metric as markdown, a row per scenario and a column per method."""
    lines = [f"| {metric.upper()} | " + " | ".join(METHODS) + " |", "|---" * (len(METHODS) + 1) + "|"]
    for name, scenario in SCENARIOS.items():
        found = results_of(runs / name, scenario)
        cells = [shown([r.metrics[metric].value for r in found.get(method, [])], "{:.3f}") for method in METHODS]
        lines.append(f"| {name} ({metric_of(found)}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def metric_of(found: dict[str, list[RunResult]]) -> str:
    """Return the metric of a scenario's results; a stream whose tasks have several says so."""
    metrics = {result.primary_metric for results in found.values() for result in results}
    return ", ".join(sorted(metrics)) or "not run"


def failures(runs: Path) -> list[str]:
    """Return what the scenarios should show and do not, judged by means and both deviations."""
    found = []
    for name, scenario in SCENARIOS.items():
        results = results_of(runs / name, scenario)
        if not {"frozen", "finetune", "joint"} <= results.keys():
            continue
        (floor, low), (top, high) = average(results["frozen"]), average(results["joint"])
        (tuned, spread), (lost, _) = average(results["finetune"]), average(results["finetune"], "fgt")
        if top - high <= floor + low:
            found.append(f"{name}: joint is not above frozen")
        if top - high <= tuned + spread:
            found.append(f"{name}: joint is not above finetune")
        if lost <= 0:
            found.append(f"{name}: finetune forgets nothing")
    return found


def settings_table(runs: Path) -> str:
    """Return AA on validation of every setting, the chosen ones in bold."""
    lines = ["| scenario | method | AA on validation by setting |", "|---|---|---|"]
    for name, scenario in SCENARIOS.items():
        for method, row in scenario.rows.items():
            best, scores = best_setting(runs / name / "sweep", method, row)
            chosen = folder_of(runs, method, best).name
            if scores:
                cells = [
                    f"**{key} {value:.3f}**" if key == chosen else f"{key} {value:.3f}" for key, value in scores.items()
                ]
                lines.append(f"| {name} | {method} | {'; '.join(cells)} |")
    return f"Seed {SWEEP_SEED}, settings as in experiments/scenario_settings.py\n\n" + "\n".join(lines)


def report(runs: Path) -> str:
    """Return the tables, what is forgotten in each scenario, and what does not show."""
    seeds = {
        result.seed
        for name, scenario in SCENARIOS.items()
        for results in results_of(runs / name, scenario).values()
        for result in results
    }
    forgotten = "\n".join(
        f"- **{name}** (`data={scenario.data}`) forgets {scenario.forgotten}." for name, scenario in SCENARIOS.items()
    )
    weak = failures(runs)
    remark = (
        f"Not as expected: {'; '.join(weak)}."
        if weak
        else ("In each, `joint` is above `frozen` and `finetune` by more than both deviations, and `finetune` forgets.")
    )
    head = f"**Five fine-tuning scenarios** (generated data, `model=tiny`, {len(seeds)} seeds)"
    return f"{head}\n\n{table(runs, 'aa')}\n\n{table(runs, 'fgt')}\n\n{forgotten}\n\n{remark}"


def main() -> None:
    """Run the grid and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "scenario_table")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table_only:
        for method in arguments.methods:
            for name in arguments.scenarios:
                run_row(arguments.runs / name, SCENARIOS[name], method, arguments.seeds)
    publish("scenario_settings", settings_table(arguments.runs))
    publish("scenario_table", report(arguments.runs))


if __name__ == "__main__":
    main()
