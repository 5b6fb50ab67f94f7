"""The adapted model of a run as a folder that transformers or peft loads without this package.

    merged   config.json, model.safetensors                      AutoModelForCausalLM.from_pretrained
    peft     adapter_config.json, adapter_model.safetensors      AutoPeftModelForCausalLM.from_pretrained
    both     tokenizer with its chat template, README.md (a model card), cmt_export.json

A method says whether its answers are those of a model alone (`Method.model_alone`); what lies in the model decides on
the form. The folder appears whole or not at all.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_cli.core.atomic import whole_folder, write_json, write_text
from cmt_cli.core.exceptions import UserError, from_library
from cmt_cli.core.setting_checks import one_of
from cmt_cli.exporting.card import Origin, model_card
from cmt_cli.running.job import load
from cmt_cli.running.run_files import read_result, refuse_links

if TYPE_CHECKING:
    from cmt_cli.models.base_models import BaseModel
    from cmt_cli.running.answering import AdaptedModel

PEFT, MERGED = "peft", "merged"
FORMATS = (PEFT, MERGED)


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that was written: its form, and the number of tasks that its model has learned."""

    folder: Path
    form: str
    num_tasks: int


def export(
    run: Path, target: Path, *, task: int | None = None, form: str | None = None, trust: Sequence[str] = ()
) -> Exported:
    """Write the model of the run in the folder `run` into the folder `target`.

    It is that after task number `task`, counted from 1, or the newest that is saved. `form` is one of `FORMATS`; None
    takes peft where an adapter alone was trained. `trust` names what the run's configuration may execute. Raises
    UserError where the target holds something, and where what answers is more than a model.
    """
    if form is not None:
        one_of(form, FORMATS, "--format")
    _check_target(target, run)
    refuse_links(run)
    result = read_result(run)
    if result is None:
        raise UserError(f"{run} holds no run: it has no result.json.")
    job = load(run, trust)
    from safetensors import SafetensorError

    from cmt_cli.exporting.adapter import is_adapter
    from cmt_cli.exporting.check import drawn_rows, logits_of_folder, logits_of_run, refuse_difference
    from cmt_cli.exporting.merged import refuse_other_parts
    from cmt_cli.models.base_models import base_model
    from cmt_cli.running.answering import AdaptedModel

    adapted = AdaptedModel.of(job, run, task=task)
    learner = adapted.method.model_alone(adapted.learner, adapted.task_index)
    refuse_other_parts(learner)
    base = base_model(job.resolved["model"])
    if form is None:
        form = PEFT if base is not None and is_adapter(learner) else MERGED
    origin = Origin(result, job.config, form, adapted.task_index + 1, base)
    ids = drawn_rows(learner)
    expected, dtype = logits_of_run(learner, ids), learner.dtype
    with whole_folder(target) as folder:
        try:
            _write(adapted, base, form, folder)
        except SafetensorError as error:
            raise from_library(error, target) from error
        write_json(folder / "cmt_export.json", origin.facts())
        write_text(folder / "README.md", model_card(origin, adapted))
        del adapted, learner  # there may be no room for the model twice
        gc.collect()
        trusts = job.config["model"].get("trust_remote_code") is True
        found = logits_of_folder(folder, base if form == PEFT else None, ids, trust_remote_code=trusts)
        refuse_difference(expected, found, dtype)
    return Exported(target, form, origin.num_learned)


def _check_target(target: Path, run: Path) -> None:
    if target.resolve().is_relative_to(run.resolve()):
        raise UserError(f"'{target}' lies in the run's own folder, which the run empties and fills. Name another one.")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"'{target}' is a file or a link. Name a folder that is not there yet, or an empty one.")
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"The folder '{target}' is not empty. Name one that is not there yet, or an empty one.")


def _write(adapted: AdaptedModel, base: BaseModel | None, form: str, folder: Path) -> None:
    from cmt_cli.exporting.adapter import write_adapter
    from cmt_cli.exporting.merged import write_model

    learner: Any = adapted.learner
    if form == MERGED:
        write_model(learner, folder)
    elif base is None:
        raise UserError(
            "An adapter is loaded beside its base model, and this run's cannot be loaded by a name: it is one GGUF "
            "file, began with an adapter (model.adapter), or is another package's. Use --format merged. Virtual tokens "
            "cannot be merged: learn them beside a model in a folder, such as one that --format merged has written."
        )
    else:
        write_adapter(learner, base, folder)
    learner.tokenizer.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):  # which its library lets nobody else read
        shutil.copymode(folder / "tokenizer_config.json", file)
