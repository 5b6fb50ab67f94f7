"""`cmt export`: the adapted model of a run as a folder for transformers or peft."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cmt_cli.commands.options import Debug, RunName, Trust


def export(
    run: RunName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to: a folder that is absent or empty.")],
    task: Annotated[
        int | None, typer.Option(help="The state after task N, counted from 1; without it the newest.", metavar="N")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="peft (an adapter beside its base) or merged (one model).", metavar="FORMAT"),
    ] = None,
    trust: Trust = None,
    debug: Debug = False,
) -> None:
    """Write a run's adapted model as a folder that transformers or peft loads without cmt, with a model card."""
    from cmt_cli.commands import run_folders
    from cmt_cli.core.exceptions import counted
    from cmt_cli.exporting.export import export as write
    from cmt_cli.terminal.text import say

    made = write(run_folders.find(run), folder, task=task, form=form, trust=tuple(trust or ()))
    loader = "AutoPeftModelForCausalLM" if made.form == "peft" else "AutoModelForCausalLM"
    say(
        f"{made.folder}: the model after {counted(made.num_tasks, 'task')}, {made.form}. "
        f"{loader}.from_pretrained({str(made.folder)!r}) loads it; README.md says how to ask it."
    )
    if made.form == "peft":
        say(f"A run starts from it with model.adapter={made.folder} and the same base model.")
    else:
        say(f"A run starts from it with model=huggingface model.name_or_path={made.folder}.")
