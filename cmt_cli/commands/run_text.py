"""Print a run: where its data came from, the score matrix, the metrics with their formulas, cost, and what to do next.

Made for 80 columns and up; on anything but a terminal it is plain text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cmt_cli.commands.next_commands import needs_baseline, next_commands
from cmt_cli.core.result import Cost, RunResult, ScoreMatrix
from cmt_cli.evaluation.changing_facts import CHANGE_SCORES
from cmt_cli.running.run_files import read_config, read_error
from cmt_cli.terminal.console import line
from cmt_cli.terminal.layout import seconds, size
from cmt_cli.terminal.text import paragraph

# Ends and middle of matplotlib's cividis, dark to light, for shading on a terminal.
_SHADES = ((0, 34, 78), (124, 123, 120), (254, 232, 56))
_ROW_NAME_WIDTH = 9
_CELL_WIDTH = 4
_MAX_ROWS = 21
_MAX_FILES = 12  # of which a name is shown; result.json has all


def show(result: RunResult, folder: Path, console: Console) -> None:
    """Print everything about a run on `console`."""
    config = read_config(folder) if (folder / "config.yaml").is_file() else None
    _heading(result, folder, config, console)
    primary = result.matrices.get(result.primary_metric)
    if primary is not None:
        console.print()
        paragraph(console, "", f"{primary.metric}, after each task (rows) on each test (columns)")
        console.print(matrix_table(primary, console.width), highlight=False)
        for told in _legend(primary, console.width, result.probes):
            paragraph(console, "", told)
        console.print()
        console.print(_metrics_table(result), highlight=False)
        if ages := _ages(result):
            console.print()
            paragraph(console, "", "Facts that change: mean over tests, after the last task and by tasks learned since")
            console.print(_age_table(ages), highlight=False)
        for reason, names in without_value(result).items():
            paragraph(console, "No value: ", f"{', '.join(names)} ({reason})")
        paragraph(console, "", _means_line(result))
    console.print()
    paragraph(console, "Cost: ", cost_line(result.cost))
    console.print()
    for command, purpose in next_commands(result, folder, config):
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)  # whole, to be copied
        paragraph(console, "      ", purpose)


def _heading(result: RunResult, folder: Path, config: Mapping[str, Any] | None, console: Console) -> None:
    data, model = result.data, result.model
    names = f"{result.method} on {data['name']} with {model['name']}"
    paragraph(console, "", f"{names}, seed {result.seed}: {result.status}")
    if result.status == "failed":
        paragraph(console, "Error: ", read_error(folder) or "not recorded")
    counts = ", ".join(
        f"{data[key]:,} {thing}{'' if data[key] == 1 else 's'}"
        for thing in ("task", "document", "question")
        if data.get(key := f"num_{thing}s")
    )
    # Only a stream that can read files has a `source` to choose; a world_* stream is generated and nothing else.
    stands_in = "source" in ((config or {}).get("data") or {})
    generated = f"GENERATED{', a stand-in for the real data set' if stands_in else ''}"
    labels = [generated] if data["source"] == "generated" else []
    labels += ["VALIDATION split, no test result"] if result.split == "validation" else []
    label = (", ".join(labels), "bold reverse") if labels else ("real",)
    console.print(line("Data: ") + line(*label))
    paragraph(console, "      ", counts)
    if data.get("note"):
        paragraph(console, "      ", data["note"])
    digests = data.get("sha256", {})
    files = ", ".join(f"{name} {digest[:8]}" for name, digest in list(digests.items())[:_MAX_FILES])
    files += f" and {len(digests) - _MAX_FILES:,} more" if len(digests) > _MAX_FILES else ""
    if files:
        paragraph(console, "      ", f"files (sha256): {files}; license: {data['license']}")
    if model.get("chat_template"):
        paragraph(console, "Chat template: ", template_line(model["chat_template"]))
    console.print(f"Run folder: {folder}", markup=False, highlight=False, soft_wrap=True)


def template_line(record: Mapping[str, Any]) -> str:
    """Return how prompts were written, from the record of a chat template."""
    return f"{json.dumps(record['form'], ensure_ascii=False)} (sha256 {record['sha256'][:8]})"


def matrix_table(matrix: ScoreMatrix, width: int) -> Table:
    """Return the score matrix as a table that fits `width` columns; where it is larger, evenly spaced parts of it."""
    fitting = max(2, (width - _ROW_NAME_WIDTH) // (_CELL_WIDTH + 1))
    columns = _spread(len(matrix.tests), fitting)
    rows = _spread(len(matrix.rows), _MAX_ROWS)
    table = Table(box=None, padding=(0, 0))
    table.add_column("", min_width=_ROW_NAME_WIDTH, no_wrap=True)
    for j in columns:
        at = matrix.learned_at[j]
        name = f"{j + 1} " if at is not None else f"*{j + 1} "
        table.add_column(name, justify="right", min_width=_CELL_WIDTH + 1)
    for i in rows:
        name = f"after {i}" if i else "before"
        table.add_row(name, *(_cell(matrix.rows[i][j]) for j in columns))
    return table


def _cell(value: float | None) -> Text:
    if value is None:
        return Text("- ", style="dim", justify="right")
    text = f"{value:.2f}".removeprefix("0") if 0 <= value < 1 else f"{value:.1f}"
    shade = _shade(value)
    ink = "black" if sum(shade) > 380 else "white"
    red, green, blue = shade
    return Text(f"{'1.0' if text == '1.00' else text:>{_CELL_WIDTH}} ", style=f"{ink} on rgb({red},{green},{blue})")


def _shade(value: float) -> tuple[int, int, int]:
    position = min(max(value, 0.0), 1.0) * (len(_SHADES) - 1)
    low = min(int(position), len(_SHADES) - 2)
    share = position - low
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(_SHADES[low], _SHADES[low + 1], strict=True))
    return red, green, blue


def _spread(count: int, limit: int) -> list[int]:
    """Return all indices, or `limit` evenly spaced ones with both ends."""
    if count <= limit:
        return list(range(count))
    return [round(k * (count - 1) / (limit - 1)) for k in range(limit)]


def _legend(matrix: ScoreMatrix, width: int, asked: Mapping[str, Mapping[str, Any]]) -> list[str]:
    shown = len(_spread(len(matrix.tests), max(2, (width - _ROW_NAME_WIDTH) // (_CELL_WIDTH + 1))))
    lines = [f"Tests 1 to {len(matrix.tests)}: {matrix.tests[0]} ... {matrix.tests[-1]}; test n belongs to task n."]
    if list(matrix.learned_at) != list(range(len(matrix.tests))):
        names = (f"{j + 1} {test} (task {at + 1})" for j, (test, at) in _tests(matrix) if at is not None)
        probes = (f"*{j + 1} {_probe(test, asked.get(test))}" for j, (test, at) in _tests(matrix) if at is None)
        lines = ["Tests: " + ", ".join([*names, *probes])]
    if shown < len(matrix.tests) or len(matrix.rows) > _MAX_ROWS:
        lines.append(f"The matrix is {len(matrix.rows)} x {len(matrix.tests)}; scores.csv has all of it.")
    return lines


def _probe(test: str, asked: Mapping[str, Any] | None) -> str:
    """Return a probe's name with its own score, and how much of it was asked where that is not all."""
    if asked is None:
        return f"{test} (general probe)"
    num, available = asked.get("num_questions"), asked.get("num_available")
    part = f", {num} of {available} questions" if num != available else ""
    return f"{test} (general probe, {asked['metric']}{part})"


def _tests(matrix: ScoreMatrix) -> list[tuple[int, tuple[str, int | None]]]:
    return list(enumerate(zip(matrix.tests, matrix.learned_at, strict=True)))


def _metrics_table(result: RunResult) -> Table:
    others = [m for m in ("f1",) if m in result.matrices and m != result.primary_metric]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("metric", result.primary_metric, *others, "formula"):
        table.add_column(line(name), no_wrap=name == "metric")
    for name, metric in result.metrics.items():
        if "/" not in name.partition("[")[0]:  # a probe's name may hold anything
            values = [metric, *(result.metrics.get(f"{other}/{name}") for other in others)]
            shown = ["-" if v is None or v.value is None else f"{v.value:.3f}" for v in values]
            if any(text != "-" for text in shown):
                table.add_row(line(name), *shown, line(metric.formula))
    return table


def _ages(result: RunResult) -> dict[str, dict[str, float | None]]:
    """Return the scores of facts that change by name: the last row's mean, then by age."""
    found: dict[str, dict[str, float | None]] = {}
    for name in CHANGE_SCORES:
        aged = [key for key in result.metrics if key.startswith(f"{name}/age_")]
        if aged:
            keys = {"last": f"{name}/aa", **{key.rpartition("_")[2]: key for key in aged}}
            found[name] = {title: result.metrics[key].value for title, key in keys.items() if key in result.metrics}
    return found


def _age_table(ages: Mapping[str, Mapping[str, float | None]]) -> Table:
    titles = list(dict.fromkeys(title for values in ages.values() for title in values))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("score", *titles):
        table.add_column(line(title), no_wrap=True)
    for name, values in ages.items():
        shown = ["-" if (value := values.get(title)) is None else f"{value:.3f}" for title in titles]
        table.add_row(line(name), *shown)
    return table


def without_value(result: RunResult) -> dict[str, list[str]]:
    """Return the metrics of the primary matrix that have no value, by their common reason."""
    found: dict[str, list[str]] = {}
    for name, metric in result.metrics.items():
        if metric.value is None and "/" not in name.partition("[")[0]:
            found.setdefault(_common(metric.reason or "no reason is recorded"), []).append(name)
    return found


def _common(reason: str) -> str:
    """Return a reason without the name of a baseline run and the command that makes it, which a hint has."""
    if not needs_baseline(reason):
        return reason
    short = reason.split("; `")[0].removesuffix("; remove it, then")
    return re.sub(r"(?:baseline|reference) run \S+", "baseline run", short).replace("needs the ", "needs a ")


def _means_line(result: RunResult) -> str:
    """Return the means over the last row for every metric that has them."""
    names = [result.primary_metric, *(n.removesuffix("/aa") for n in result.metrics if n.endswith("/aa"))]
    means = {n: result.metrics["aa" if n == result.primary_metric else f"{n}/aa"].value for n in names}
    known = [f"{name} {value:.3f}" for name, value in means.items() if value is not None]
    return f"Last row, mean over tests: {', '.join(known)}" if known else "The last row is not complete."


def cost_line(cost: Cost) -> str:
    """Return what a run used, in one sentence."""
    parts = [f"training {seconds(cost.train_seconds)}", f"evaluation {seconds(cost.eval_seconds)}"]
    if cost.adapt_seconds_per_document is not None:
        parts.append(f"{seconds(cost.adapt_seconds_per_document)} to learn a document")
    if cost.answer_ms_per_question is not None:
        parts.append(f"{seconds(cost.answer_ms_per_question / 1000)} per answer")
    parts.append(f"{cost.tokens:,} tokens trained on")
    parts.append(f"{cost.trainable_parameters:,} trainable parameters")
    parts.append(f"{size(cost.storage_bytes)} stored of past tasks")
    parts.append(f"{size(cost.peak_memory_bytes)} peak memory")
    return ", ".join(parts) + "."
