"""Try the weights of the penalties on all weights and on an adapter, to choose one default that holds for both.

    python experiments/penalty_weights.py                # run what is missing, then write the table
    python experiments/penalty_weights.py --rows l2-2.5e5-lora    # only these runs: method, weight, what is trained
    python experiments/penalty_weights.py --table-only   # from the run folders alone

`data=world_skills` with `model=tiny`, the validation split, one seed, everything else at its defaults. A penalty is a
mean over the parameters (`normalize=mean`), so its weight should not depend on how many there are. The table goes to
experiments/results/penalty_weights.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from tables import ROOT, finished, last_row, publish, run

FIXED = ("data=world_skills", "data.stream_split=validation", "evaluator.rows=last")
WEIGHTS = {
    "l2": ("2.5e2", "2.5e3", "2.5e4", "2.5e5"),
    "ewc": ("8.0e2", "8.0e3", "8.0e4", "8.0e5"),
    "mas": ("3.0e2", "3.0e3", "3.0e4", "3.0e5"),
}
TRAINABLES = ("full", "lora")
PLAIN = "finetune"  # without a penalty


def jobs() -> dict[tuple[str, str, str], list[str]]:
    """Return the overrides of each run by method, weight and what is trained."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for trainable in TRAINABLES:
        trained = f"trainable@method.trainable={trainable}"
        found[PLAIN, "-", trainable] = [f"method={PLAIN}", trained]
        for method, weights in WEIGHTS.items():
            for weight in weights:
                found[method, weight, trainable] = [f"method={method}", trained, f"method.weight={weight}"]
    return found


def table(scores: Mapping[tuple[str, str, str], float]) -> str:
    """Return AA on validation, a row per method and weight and a column for what is trained."""
    lines = ["| method | weight | all weights | LoRA |", "|---|---|---|---|"]
    for method, weight in dict.fromkeys((method, weight) for method, weight, _ in jobs()):
        found = [scores.get((method, weight, trainable)) for trainable in TRAINABLES]
        shown = ["-" if score is None else f"{score:.3f}" for score in found]
        lines.append(f"| {method} | {weight} | {' | '.join(shown)} |")
    return "AA on validation by the penalty's weight; seed 0, generated data\n\n" + "\n".join(lines)


def main() -> None:
    """Run the grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "penalty_weights")
    names = ["-".join(key) for key in jobs()]
    parser.add_argument("--rows", nargs="+", default=names, choices=names, metavar="RUN")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    scores = {}
    for (method, weight, trainable), overrides in jobs().items():
        folder = arguments.runs / f"{method}-{weight}-{trainable}"
        is_wanted = not arguments.table_only and folder.name in arguments.rows
        if is_wanted and not finished(arguments.runs).get(folder.name):
            print(f"== {folder.name}", flush=True)
            run(folder, [*overrides, *FIXED], seed=0)
        if (results := finished(arguments.runs).get(folder.name)) and (score := last_row(results[0], "em")) is not None:
            scores[method, weight, trainable] = score
    text = table(scores)
    publish("penalty_weights", text)
    print(text)


if __name__ == "__main__":
    main()
