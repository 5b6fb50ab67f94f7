"""Make the run of a job: hand its parts to `run_stream`, its baselines first where `baselines=auto`.

A run's baselines are jobs like it with another method. Streams are built first, since that needs neither torch nor
weights and finds most mistakes. All ranks of a process group call the same functions.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_cli.config import references, targets
from cmt_cli.config.catalog import SIZES
from cmt_cli.core.atomic import remove_leftovers
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.distributed.environment import check_environment, distributed_environment
from cmt_cli.evaluation.probes import with_columns
from cmt_cli.running.baselines import BaselineRun, find_baseline, methods_of, work
from cmt_cli.running.inputs import compare_inputs, load_learner, on_each, refuse_unlike
from cmt_cli.running.job import Job
from cmt_cli.running.record import Measured, with_metrics
from cmt_cli.running.run_files import read_result, refuse_links
from cmt_cli.running.scores import read_steps
from cmt_cli.running.signals import NOTHING_STARTED, stop_means
from cmt_cli.terminal.text import paragraph

if TYPE_CHECKING:
    from cmt_cli.core.learner import Learner
    from cmt_cli.core.method import Method
    from cmt_cli.core.process_group import ProcessGroup
    from cmt_cli.core.result import RunResult
    from cmt_cli.evaluation.probes import Probes
    from cmt_cli.running.loggers import Logger
    from cmt_cli.running.store import RunStore


_WAIT_SECONDS = 5.0


def run(job: Job, folder: Path | None = None, *, loggers: Sequence[Logger] = ()) -> Path:
    """Run a job, or continue it; of a complete one only bring the metrics up to date. Return its folder.

    `loggers` are notified besides the configured one. Raises UserError for what cannot work, and for a record of
    other data than the stream's files hold.
    """
    with references.hiding(job.config):
        return _run(job, folder, loggers)


def _run(job: Job, folder: Path | None, loggers: Sequence[Logger]) -> Path:
    with stop_means(NOTHING_STARTED):
        processes = _processes(job)
        stream = _stream(job, processes)
    folder = folder or job.folder(stream)
    remove_leftovers(job.cache, levels=1)
    result = processes.run_on_rank_zero(lambda: _result(folder))
    processes.run_on_rank_zero(lambda: compare_inputs(job, folder, stream))
    if job.baselines == "auto":
        _make_baselines(job, stream, folder, processes)
    baselines = find_baselines(job, stream, folder)
    if result is None or result.status != "complete":
        _run_stream(job, stream, folder, processes, baselines=baselines, further_loggers=loggers)
    elif processes.rank == 0:
        from cmt_cli.running.restore import mend

        mend(folder, result)
        asked = with_columns(stream, result.probes)
        _update(job, stream, folder, with_metrics(result, asked, Measured({}, read_steps(folder), baselines)))
    return folder


def _processes(job: Job) -> ProcessGroup:
    """Return the processes that make the job; raise UserError where there are others than its settings say."""
    place = distributed_environment(os.environ)
    check_environment(job.distributed, place)
    if job.distributed == "none" or place is None:
        from cmt_cli.core.process_group import SINGLE_PROCESS

        return SINGLE_PROCESS
    from cmt_cli.distributed.torch_group import join

    return join(place, is_sharded=job.distributed == "fsdp2")


def _stream(job: Job, processes: ProcessGroup) -> Stream:
    """Build the stream, in process 0 first: it may write files that the others then find."""
    stream: Stream | None = None

    def build() -> None:
        nonlocal stream
        stream = job.stream()

    processes.run_on_rank_zero(build)
    stream = on_each(processes, lambda: job.stream() if stream is None else stream)
    refuse_unlike(processes, "data", stream.provenance.content)
    return stream


def _result(folder: Path) -> RunResult | None:
    refuse_links(folder)
    return read_result(folder)


def _update(job: Job, stream: Stream, folder: Path, result: RunResult) -> None:
    """Write a complete run's record where its metrics have changed."""
    if read_result(folder) != result:
        from cmt_cli.running.store import RunStore

        with RunStore(folder, job.identity, job.saved) as store:
            store.write_result(result)


def find_baselines(job: Job, stream: Stream, folder: Path) -> dict[str, BaselineRun]:
    """Look for the baselines of the run in `folder` among the runs beside it."""
    command = shlex.join(["cmt", "run", *job.given, "baselines=auto"])
    found = {}
    keys = job.config.get("baseline_methods", {})  # the record of an older run has none
    for baseline, method in methods_of(stream, keys).items():
        made = job.baseline(method)
        name = made.folder(stream).name
        is_self = name == job.without_probes.folder(stream).name
        path = folder if is_self else folder.parent / name
        found[baseline] = find_baseline(method, path, stream, own=folder, command=command, models=made.model_files)
    return found


def _make_baselines(job: Job, stream: Stream, folder: Path, processes: ProcessGroup) -> None:
    """Make the baselines that are missing, one after the other; wait where another process is making one."""
    from cmt_cli.core.device_memory import free_memory
    from cmt_cli.running.lock import FolderInUseError
    from cmt_cli.terminal.console import open_console

    console = open_console(stderr=True, quiet=processes.rank > 0)

    def missing_runs() -> list[BaselineRun]:
        return [run for run in find_baselines(job, stream, folder).values() if run.reason is not None]

    while missing := processes.run_on_rank_zero(missing_runs):
        run, baseline = missing[0], job.baseline(missing[0].method)
        processes.run_on_rank_zero(partial(compare_inputs, baseline, run.folder, stream))
        text = f"{work(run.method, stream)}. baselines=none leaves it out."
        paragraph(console, f"Baseline run {run.method}: ", text)
        try:
            baselines = find_baselines(baseline, stream, run.folder)
            _run_stream(baseline, stream, run.folder, processes, baselines=baselines)
        except FolderInUseError:
            paragraph(console, "", f"Another process is making {run.folder}: waiting for it.")
            time.sleep(_WAIT_SECONDS)
        free_memory()


def _run_stream(
    job: Job,
    stream: Stream,
    folder: Path,
    processes: ProcessGroup,
    *,
    baselines: Mapping[str, BaselineRun],
    further_loggers: Sequence[Logger] = (),
) -> None:
    from cmt_cli.running.allocation import keep_freed_memory
    from cmt_cli.running.loggers import ConsoleLogger
    from cmt_cli.running.stream_loop import run_stream
    from cmt_cli.terminal.console import open_console

    keep_freed_memory()
    method: Method = job.build("method")
    refuse_misfit(method, stream)
    on_each(processes, lambda: refuse_absent_device(job))
    if processes.is_sharded:
        from cmt_cli.distributed.sharding import refuse_unsharded

        refuse_unsharded(method, job.resolved["model"])
    trainer, evaluator = job.build("trainer"), job.build("evaluator")
    probes = _probes(job, processes)
    with_columns(stream, probes.prepare())
    stream = replace(stream, provenance=stream.provenance.noted(evaluator.note(stream.tests)))
    console = open_console(stderr=True)
    loggers = [ConsoleLogger(console), job.build("logger"), *further_loggers]
    with _store(job, folder, processes) as store, stop_means(f"Repeat the command or `cmt resume {folder}`."):
        learner = _learner(job, processes)
        if processes.rank == 0 and (warning := size_warning(job, learner)):
            paragraph(console, "Warning: ", warning)
        if too_long := evaluator.check_lengths(learner, stream.tests):
            stream = replace(stream, provenance=stream.provenance.noted(too_long))
            if processes.rank == 0:
                paragraph(console, "Warning: ", f"{too_long}.")
        run_stream(
            learner=learner,
            method=method,
            stream=stream,
            trainer=trainer,
            evaluator=evaluator,
            store=store,
            loggers=loggers if processes.rank == 0 else [],
            baselines=baselines,
            probes=probes,
        )


def _probes(job: Job, processes: ProcessGroup) -> Probes:
    """Prepare the probes, in process 0 first: it may download what the others then find."""
    probes: Probes = job.build("probes")
    processes.run_on_rank_zero(lambda: [*probes.prepare()])
    facts = probes.prepare()
    refuse_unlike(processes, "probes", facts)
    return probes


def _learner(job: Job, processes: ProcessGroup) -> Learner:
    """Load the model, or this process's part of it."""
    processes.run_on_rank_zero(job.model_files)  # hashes its files once, the other processes find them in the cache
    if not processes.is_sharded:
        learner = on_each(processes, lambda: load_learner(job, lambda: job.build("model")))
    else:
        from cmt_cli.distributed.sharding import loading_settings, shard

        settings = job.resolved["model"]
        own = partial(targets.instantiate, loading_settings(settings), job.trusted)
        learner = on_each(processes, lambda: load_learner(job, own))
    learner.processes = processes
    refuse_unlike(processes, "model", learner.files)
    if processes.is_sharded:
        shard(learner, settings)
    return learner


def size_warning(job: Job, learner: Learner) -> str | None:
    """Return the sentence that warns of a model whose size class is another than `size`, None where it is the same."""
    size = job.config.get("size")
    is_given = any(override.startswith("size=") for override in job.overrides)
    if size is None or is_given:  # the record of an older run has none
        return None
    from cmt_cli.core.mixed_precision import num_parameters

    count = num_parameters(learner.model)
    above, up_to = size["num_parameters"]
    if above < count <= up_to:
        return None
    given = f"above {up_to / 1e6:,.0f}" if count > up_to else f"at most {above / 1e6:,.0f}"
    classes = f"{', '.join(SIZES[:-1])} or {SIZES[-1]}"
    return (
        f"the model has {count / 1e6:,.1f} million parameters, {given}: what size={size['name']} chooses (rates, sizes "
        f"of memories, what is trained) is not for it. Give size={classes}."
    )


def _store(job: Job, folder: Path, processes: ProcessGroup) -> RunStore:
    from cmt_cli.running.shared_store import SharedStore
    from cmt_cli.running.store import RunStore

    if processes.world_size == 1:
        return RunStore(folder, job.identity, job.saved)
    return SharedStore(folder, job.identity, job.saved, processes)


def refuse_absent_device(job: Job) -> None:
    """Raise UserError where the model's device is not here, before there is a run folder."""
    device = job.resolved["model"].get("device")
    if isinstance(device, str):
        from cmt_cli.models.huggingface import resolve_device

        resolve_device(device)


def refuse_misfit(method: Method, stream: Stream) -> None:
    """Raise UserError where a stream lacks what a method's class says it needs."""
    # Looked at only where it is needed: a stream may have millions of examples.
    given: dict[str, Callable[[], bool]] = {
        "documents (tasks that are batches of documents)": lambda: any(task.documents for task in stream.tasks),
        "labels (examples that are questions with answers)": lambda: all(
            example.prompt for task in stream.tasks for example in task.train
        ),
        "episodes (a meta-training split)": lambda: bool(stream.episodes.train),
        "the task id at test time": lambda: stream.gives_task,
    }
    needs = (method.needs_documents, method.needs_labels, method.needs_episodes, method.needs_task_id)
    missing = [what for (what, present), needed in zip(given.items(), needs, strict=True) if needed and not present()]
    if missing:
        raise UserError(
            f"{type(method).__name__} needs {' and '.join(missing)}, which the stream '{stream.name}' does not have. "
            "`cmt list matrix` shows which method goes with which stream."
        )
