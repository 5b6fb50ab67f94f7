"""What a run rests on besides its settings, compared with what its record says: models, data, versions of packages.

Other weights, another tokenizer or other data are refused; other versions are told, since most of them change nothing.
A record of an earlier version of this package that lacks a hash is compared in what it has.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cmt_cli.core.exceptions import CmtWarning, UserError, told
from cmt_cli.core.result import RunResult
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.stream_content import identified
from cmt_cli.evaluation.probes import Facts
from cmt_cli.models.model_digests import weights_digest
from cmt_cli.running.identity import ABSENT, THEN, versions
from cmt_cli.running.run_files import read_result
from cmt_cli.terminal.text import say

if TYPE_CHECKING:
    from cmt_cli.core.learner import Learner
    from cmt_cli.core.process_group import ProcessGroup
    from cmt_cli.running.job import Job

T = TypeVar("T")
Digests = Mapping[str, str]  # sha256 by file
_SHOWN = 8  # letters of a hash


def compare_inputs(job: Job, folder: Path, stream: Stream) -> None:
    """Raise UserError where a folder's record is of other inputs than those here; tell what else differs.

    Before anything is loaded or written, as far as the inputs are known then.
    """
    if (previous := read_result(folder)) is not None:
        refuse_other_inputs(previous, folder, stream=stream, models=job.model_files())
        tell_differences(previous, folder)
    elif (folder / "checkpoint").is_dir():
        text = f"{folder} holds a state, but its result.json is gone: which model and data it is of is not checked."
        warnings.warn(text, CmtWarning, stacklevel=2)


def refuse_other_inputs(
    previous: RunResult, folder: Path, *, stream: Stream | None = None, models: Digests | None = None
) -> None:
    """Raise UserError with what changed where a record is of another model or other data; None is not compared."""
    changes = []
    if models is not None and (found := model_changes(previous, models)):
        name = previous.model.get("weights", previous.model["name"])
        changes.append(f"the model '{name}' is another one today ({found})")
    if stream is not None and (found := data_changes(previous, stream)):
        changes.append(f"the data '{previous.data['name']}' are others today ({found})")
    if changes:
        raise UserError(
            f"The run in {folder} was begun with other inputs: {'; '.join(changes)}. A run has one model and one data "
            "set: put back what it was begun with, or remove the run folder (or give another paths.runs) and start "
            "again."
        )


def refuse_other_probes(previous: RunResult | None, facts: Facts, folder: Path) -> None:
    """Raise UserError where the record of a run was begun with other questions of its probes than today's."""
    if previous is None or not previous.matrices:
        return
    before, now = ({name: fact.get("sha256") for name, fact in of.items()} for of in (previous.probes, facts))
    if before != now:
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        raise UserError(
            f"The run in {folder} was begun with other questions of its probes: {', '.join(changed)} changed since. "
            "Their files, their data, or lm_eval itself is another one today. Put back what it was begun with, or "
            "remove the run folder (or give another paths.runs) and start again."
        )


def model_changes(previous: RunResult, models: Digests) -> str:
    """Return what of a model's files is not as recorded, "" where nothing is, or nothing is recorded."""
    recorded = previous.model.get("sha256")
    return _file_changes(recorded, models) if isinstance(recorded, Mapping) and recorded else ""


def data_changes(previous: RunResult, stream: Stream) -> str:
    """Return what of the data is not as recorded, "" where nothing is."""
    data, now = previous.data, stream.provenance
    changes = [f"they were {data['source']}, and are {now.source}"] if data["source"] != now.source else []
    changes += [found] if (found := _file_changes(dict(data["sha256"]), now.files)) else []
    content, recorded = identified(stream).provenance.content, data.get("content_sha256")
    if not changes and recorded is not None and recorded != content:
        files = "the same files give" if now.files else "the same settings give"
        maker = _maker(previous, now.generator)
        changes.append(f"{files} other tasks, texts or questions, content sha256 {_change(recorded, content)}{maker}")
    return "; ".join(changes)


def _maker(previous: RunResult, generator: str) -> str:
    """Return what made the data then and today, where that differs."""
    before = previous.data.get("generator", "")
    if before != generator:
        return f", generator {_change(before, generator)}"
    then, now = previous.versions.get("cmt"), versions()["cmt"]
    return f", cmt {then}, today {now}" if then not in (None, now) else ""


def _file_changes(before: Digests, after: Digests) -> str:
    changed = [
        f"{name} changed since (sha256 {_change(before[name], after[name])})"
        for name in sorted(before)
        if name in after and before[name] != after[name]
    ]
    gone = [f"{name} is gone" for name in sorted(set(before) - set(after))]
    return ", ".join([*changed, *gone, *(f"{name} is new" for name in sorted(set(after) - set(before)))])


def _change(before: str, after: str) -> str:
    return f"{str(before)[:_SHOWN] or 'unknown'}, today {after[:_SHOWN] or 'unknown'}"


def tell_differences(previous: RunResult, folder: Path) -> None:
    """Warn where packages that change numbers have other versions than a run's record; say what is not compared."""
    now = versions()
    before = {name: str(text).rpartition(THEN)[2] for name, text in previous.versions.items()}
    changed = [name for name, version in before.items() if version not in (ABSENT, now.get(name, version))]
    if changed:
        then = ", ".join(f"{name} {before[name]}" for name in changed)
        here = ", ".join(f"{name} {now[name]}" for name in changed)
        warnings.warn(
            f"The run in {folder} was made with {then}; here are {here}. Numbers may differ a little between versions: "
            "install the former ones to have them exactly.",
            CmtWarning,
            stacklevel=2,
        )
    missing = [
        what
        for what, record, key in (("model", previous.model, "sha256"), ("data", previous.data, "content_sha256"))
        if key not in record
    ]
    if missing:
        say(
            f"The record in {folder} is of an earlier version, without a hash of its {' and '.join(missing)}: that "
            "they are the same as when the run was begun is not checked.",
            sys.stderr,
        )


def tell_other_numbers(previous: RunResult, learner: Learner) -> None:
    """Warn where a run's weights were held in numbers of another format than here, as `dtype: auto` may choose."""
    from cmt_cli.core.mixed_precision import name_of

    before, now = previous.model.get("dtype"), name_of(learner.dtype)
    if before not in (None, now):
        warnings.warn(
            f"The model's numbers were {before} when the run was begun, and are {now} on this device: results differ a "
            f"little. model.dtype names a format for every machine.",
            CmtWarning,
            stacklevel=2,
        )


def on_each(processes: ProcessGroup, act: Callable[[], T]) -> T:
    """Let each process of a run read its inputs; a collective call.

    What one of them is refused is raised in all, since the others would wait for it.
    """
    refusal: UserError | OSError | None = None
    try:
        outcome = act()
    except (UserError, OSError) as error:
        refusal = error
    found = processes.gather(None if refusal is None else told(refusal) or str(refusal))
    if refusal is not None:
        raise refusal
    for rank, text in enumerate(found):
        if text is not None:
            raise UserError(f"Process {rank} of this run, counted from 0, cannot go on: {text}")
    return outcome


def refuse_unlike(processes: ProcessGroup, what: str, digest: object) -> None:
    """Raise UserError where the processes of a run found different files; a collective call."""
    if any(other != digest for other in processes.gather(digest)):
        raise UserError(
            f"The processes of this run have read different files as its {what}. Put the same files on every node."
        )


def load_learner(job: Job, load: Callable[[], Learner]) -> Learner:
    """Load a job's model by `load`, and note the hashes of its files, of its weights where they are not known.

    Raises UserError where the files change meanwhile.
    """
    from cmt_cli.models.adapters import refuse_other_base

    before = job.model_files()
    adapter = job.resolved["model"].get("adapter")  # another package's model may have none
    if isinstance(adapter, str):
        refuse_other_base(adapter, before or {})
    learner = load()
    files = job.model_files()
    if isinstance(adapter, str):
        refuse_other_base(adapter, files or {})
    if before is not None and files is not None and before != files:
        raise UserError(f"The model's files changed while they were read: {_file_changes(before, files)}. Start again.")
    learner.files = files if files is not None else weights_digest(learner.model)
    return learner
