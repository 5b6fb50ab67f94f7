"""Choose the learning rates of what is trained on a real, small language model.

    python experiments/model_rates.py --model FOLDER --data FOLDER    # run what is missing, then write the table
    python experiments/model_rates.py --table-only                    # from the run folders alone

The model is one of the size class `small`, e.g. SmolLM2-135M; the data are BANKING77's files. `method=finetune` learns
two tasks of six intents each, on the validation split with one seed, for every kind of `trainable` at three rates. The
rates with the best exact match on each task when it was learned are those that conf/trainable has for small models. The
table goes to experiments/results/model_rates.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from tables import ROOT, finished, publish, run

from cmt_cli.core.result import RunResult

RATES: Mapping[str, tuple[str, ...]] = {
    "full": ("1.0e-5", "5.0e-5", "2.0e-4"),
    "lora": ("2.0e-4", "1.0e-3", "5.0e-3"),
    "bottleneck": ("1.0e-3", "6.25e-3", "2.0e-2"),
    "prefix": ("1.0e-3", "1.0e-2", "1.0e-1"),
    "prompt": ("1.0e-3", "1.0e-2", "1.0e-1"),
}
FIXED = (
    "method=finetune",
    "data=banking77",
    "data.num_tasks=2",
    "data.labels_per_task=6",
    "data.limits.max_train=320",
    "data.limits.max_validation=48",
    "data.limits.stream_split=validation",
    "model=huggingface",
    "evaluator.rows=lower",
    "trainer.precision=bf16",
)


def scores(result: RunResult) -> tuple[float, float]:
    """Return exact match on each task right after it was learned, on average, and after the last task."""
    matrix = result.matrices["em"]
    last = len(matrix.rows) - 1
    learned = [matrix.rows[task + 1][task] or 0.0 for task in range(last)]
    kept = [score or 0.0 for score in matrix.rows[last]]
    return sum(learned) / len(learned), sum(kept) / len(kept)


def table(rows: Mapping[str, RunResult]) -> str:
    """Return the scores, a row per kind and rate, the best rate of a kind in bold."""
    lines = ["| trained | rate | exact match when learned | AA |", "|---|---|---|---|"]
    for kind, rates in RATES.items():
        found = {rate: scores(rows[name]) for rate in rates if (name := f"{kind}-{rate}") in rows}
        best = max(found, key=lambda rate: found[rate], default=None)
        for rate, (learned, kept) in found.items():
            shown = f"**{rate}**" if rate == best else rate
            lines.append(f"| {kind} | {shown} | {learned:.3f} | {kept:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "model_rates")
    parser.add_argument("--model", help="folder or hub id of a model of 20 M to 0.5 B parameters")
    parser.add_argument("--data", help="folder with BANKING77's train.csv and test.csv")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    for kind, rates in RATES.items():
        for rate in () if arguments.table_only else rates:
            name = f"{kind}-{rate}"
            if not finished(arguments.runs).get(name):
                print(f"== {name}", flush=True)
                own = (f"data.path={arguments.data}", f"model.name_or_path={arguments.model}")
                chosen = (f"trainable@method.trainable={kind}", f"trainer.task.learning_rate={rate}")
                run(arguments.runs / name, [*FIXED, *own, *chosen], seed=0)
    rows = {name: results[0] for name, results in finished(arguments.runs).items()}
    names = sorted({str(result.model.get("num_parameters", "?")) for result in rows.values()})
    text = f"BANKING77, validation split, seed 0; a model of {', '.join(names)} parameters\n\n{table(rows)}"
    publish("model_rates", text)
    print(text)


if __name__ == "__main__":
    main()
