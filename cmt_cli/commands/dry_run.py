"""`cmt run --dry-run`: everything that can be known of a run, or of each run of a sweep, without loading weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cmt_cli.commands.machine import available_bytes
from cmt_cli.commands.stream_files import description
from cmt_cli.config import check, compose
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.stream import Stream
from cmt_cli.evaluation.probes import with_columns
from cmt_cli.running.baselines import BaselineRun, work
from cmt_cli.running.inputs import compare_inputs
from cmt_cli.running.job import Job
from cmt_cli.running.job_run import find_baselines, refuse_absent_device, refuse_misfit
from cmt_cli.terminal.console import open_console
from cmt_cli.terminal.text import paragraph

Line = tuple[str, str]  # a label and a text

_GIB = 1024**3
_END_CHARACTERS = 100  # of a long prompt's text, at either end


def report(request: check.Request) -> None:
    """Check every job, then print them; raise UserError at the first that could not run."""
    console = open_console()
    jobs = compose.jobs(request.overrides, request.dirs()) if request.multirun else [list(request.overrides)]
    streams: dict[str, Stream] = {}
    reports: list[list[Line]] = []
    for number, overrides in enumerate(jobs):
        try:
            reports.append(_checked(dataclasses.replace(request, overrides=tuple(overrides), multirun=False), streams))
        except UserError as error:
            raise UserError(f"Job {number}: {error}" if len(jobs) > 1 else str(error)) from error
    shared, own = once(reports)
    if len(jobs) > 1 and shared:
        console.print("all jobs", style="bold")
    _print(console, shared)
    for number, (overrides, lines) in enumerate(zip(jobs, own, strict=True)):
        if request.multirun:
            console.print(f"job {number}", style="bold", end=" ")
            paragraph(console, "", " ".join(override for override in overrides if override not in request.overrides))
        _print(console, lines)
    paragraph(console, "", f"Checked {counted(len(jobs), 'job')}; no weights were loaded.")


def once(reports: Sequence[Sequence[Line]]) -> tuple[list[Line], list[list[Line]]]:
    """Divide the lines of jobs into those that all of them have and each job's own, without repetitions.

    Where an earlier job has said a line, a job that shares it only names that job.
    """
    shared = [line for line in reports[0] if all(line in lines for lines in reports)]
    said: dict[Line, int] = {}
    own: list[list[Line]] = []
    for number, lines in enumerate(reports):
        left = [line for line in lines if line not in shared]
        named = ((label, f"as job {said[label, text]}" if (label, text) in said else text) for label, text in left)
        own.append(list(dict.fromkeys(named)))
        said = {**dict.fromkeys(left, number), **said}
    return shared, own


def _checked(request: check.Request, streams: dict[str, Stream]) -> list[Line]:
    """Check one job and return what can be said of it; `streams` keeps the streams that are built."""
    current = Job.of(check.check(request))
    key = repr(current.config["data"])
    stream = streams[key] = streams.get(key) or current.stream()
    for group in ("trainer", "evaluator"):
        current.build(group)
    asked = current.build("probes").prepare()
    with_columns(stream, asked)
    refuse_misfit(current.build("method"), stream)
    refuse_absent_device(current)
    folder = current.folder(stream)
    compare_inputs(current, folder, stream)
    lines = [
        ("data", _stream_line(stream)),
        ("note", stream.provenance.note),
        ("fits", f"{current.names['method']} has what it needs of {current.names['data']}"),
        ("probes", ", ".join(f"{name} ({fact['metric']})" for name, fact in asked.items())),
        ("memory", memory_estimate(current)),
        ("prompt", prompt_example(current, stream)),
        ("folder", f"{folder} ({_state(folder)})"),
        *(("needs", _baseline_line(current, run, stream)) for run in find_baselines(current, stream, folder).values()),
    ]
    return [(label, text) for label, text in lines if text]


def _print(console: Console, lines: Sequence[Line]) -> None:
    for label, text in lines:
        paragraph(console, f"  {label:7} ", text)


def _baseline_line(current: Job, run: BaselineRun, stream: Stream) -> str:
    if run.reason is None:
        return f"{run.folder} ({'this run itself' if run.is_self else 'there'})"
    would = "would be made first" if current.baselines == "auto" else "would be left out; baselines=auto makes it"
    return f"{run.folder} ({would}: {work(run.method, stream)})"


def _stream_line(stream: Stream) -> str:
    files = f" from {', '.join(sorted(stream.provenance.files))}" if stream.provenance.files else ""
    data = stream.provenance
    split = ", VALIDATION split" if data.split == "validation" else ""
    return f"{stream.name}, {data.source}{split}{files}: {counted(len(stream.tasks), 'task')}, {description(stream)}"


def _state(folder: Path) -> str:
    from cmt_cli.running.run_files import read_result

    result: Any = read_result(folder)
    if result is None:
        return "new"
    return "complete: it would be printed" if result.status == "complete" else f"{result.status}: it would be continued"


def prompt_example(current: Job, stream: Stream) -> str:
    """Return the first prompt of the stream as the chat template writes it, "" where there is none.

    Raises UserError for a template that could not be used.
    """
    model = current.resolved["model"]
    if "chat_template" not in model:
        return ""
    from cmt_cli.models.chat import check_settings
    from cmt_cli.models.huggingface import local_prompt_format

    check_settings(model["chat_template"], model.get("system_text"))
    if model.get("name_or_path") is None:
        return ""
    keys = ("revision", "chat_template", "system_text", "max_tokens", "trust_remote_code")
    found = local_prompt_format(model["name_or_path"], **{key: model[key] for key in keys})
    parts = [*(task.train for task in stream.tasks), *(test.examples for test in stream.tests)]
    text = next((example.prompt for part in parts for example in part if example.prompt), "")
    if found is None or not text:
        return ""
    shown = text if len(text) <= 2 * _END_CHARACTERS else f"{text[:_END_CHARACTERS]} ... {text[-_END_CHARACTERS:]}"
    return repr(found.prompt(shown))


def memory_estimate(current: Job) -> str:
    """Return a line about the weights' bytes and the memory here; the activations come on top."""
    model = current.resolved["model"]
    name = model.get("name_or_path")
    if name is None:
        return f"model {current.names['model']} is embedded and takes a few megabytes"
    from cmt_cli.models.huggingface import estimate_bytes

    weights = estimate_bytes(name, model["dtype"], model["quantization"], revision=model["revision"])
    if weights is None:
        return f"{name} is neither a local folder nor in the cache, so its size is not known before it is downloaded"
    text = f"weights {weights / _GIB:.2f} GiB ({model['dtype']}{_packed(model)})"
    text += "; activations and optimizer come on top"
    return f"{text}; {available_bytes() / _GIB:.1f} GiB are free here"


def _packed(model: dict[str, Any]) -> str:
    return f", {model['quantization']}" if model["quantization"] else ""
