"""`cmt model`: get a base model's files ahead of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cmt_cli.commands import completion
from cmt_cli.commands.options import ConfigDir, Debug, Overrides

app = typer.Typer(no_args_is_help=True, help="Get a base model's files.")

ModelName = Annotated[
    str, typer.Argument(help="A base model, see `cmt list models`.", autocompletion=completion.models)
]


@app.command()
def prepare(name: ModelName, overrides: Overrides = None, config_dir: ConfigDir = None, debug: Debug = False) -> None:
    """Get a model's files into the cache, from which runs then load it without a network; say where they are from."""
    from cmt_cli.config import targets
    from cmt_cli.config.check import Request, check
    from cmt_cli.terminal.text import say

    checked = check(Request((f"model={name}", *(overrides or ())), config_dir=config_dir))
    settings = checked.resolved["model"]
    given = settings.get("name_or_path")
    if given is None:
        say(f"{name} is a part of the package.")
        return
    from cmt_cli.models.model_files import commit_of, model_folder
    from cmt_cli.models.prepared import Origin, origin_of, prepare

    if settings.get("source") is not None:
        prepare(targets.instantiate(settings["source"], checked.trusted), Path(given).expanduser())
    folder = model_folder(given, settings["revision"])
    origin = origin_of(folder) or Origin(given, commit_of(folder))
    say(f"{origin.name}, {origin.revision}: {folder}")
