"""`cmt run --dry-run`: everything that can be known of a run, or of each run of a sweep, without loading weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from cmt_cli.commands.machine import available_bytes
from cmt_cli.commands.stream_files import description
from cmt_cli.config import check, compose
from cmt_cli.core.exceptions import counted
from cmt_cli.core.stream import Stream
from cmt_cli.running.baselines import BaselineRun, work
from cmt_cli.running.job import Job
from cmt_cli.running.job_run import find_baselines, refuse_absent_device, refuse_misfit

_GIB = 1024**3
_END_CHARACTERS = 100  # of a long prompt's text, at either end


def report(request: check.Request) -> None:
    """Check and print every job; raise UserError at the first that could not run."""
    console = Console(highlight=False, soft_wrap=True)
    jobs = compose.jobs(request.overrides, request.dirs()) if request.multirun else [list(request.overrides)]
    streams: dict[str, Stream] = {}
    for number, overrides in enumerate(jobs):
        single = dataclasses.replace(request, overrides=tuple(overrides), multirun=False)
        current = Job.of(check.check(single))
        key = repr(current.config["data"])
        stream = streams[key] = streams.get(key) or current.stream()
        for group in ("trainer", "evaluator"):
            current.build(group)
        refuse_misfit(current.build("method"), stream)
        refuse_absent_device(current)
        if request.multirun:
            swept = " ".join(override for override in overrides if override not in request.overrides)
            console.print(f"[bold]job {number}[/] {escape(swept)}")
        _print(console, current, stream)
    console.print(f"Checked {counted(len(jobs), 'job')}; no weights were loaded.")


def _print(console: Console, current: Job, stream: Stream) -> None:
    folder = current.folder(stream)
    for label, text in {
        "data": _stream_line(stream),
        "note": stream.provenance.note,
        "fits": f"{current.names['method']} has what it needs of {current.names['data']}",
        "memory": memory_estimate(current),
        "prompt": prompt_example(current, stream),
        "folder": f"{folder} ({_state(folder)})",
    }.items():
        if text:
            console.print(f"  {label:7} {escape(text)}")
    for run in find_baselines(current, stream, folder).values():
        console.print(f"  needs   {escape(_baseline_line(current, run, stream))}")


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
    model = current.config["model"]
    if model.get("name_or_path") is None or "chat_template" not in model:
        return ""
    from cmt_cli.models.huggingface import local_prompt_format

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
    model = current.config["model"]
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
