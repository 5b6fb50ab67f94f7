"""`cmt data`: check the files of a stream, or get them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cmt_cli.commands.options import ConfigDir, Debug, Overrides, StreamName

app = typer.Typer(no_args_is_help=True, help="Check the files of a stream, or get them.")


@app.command()
def check(
    name: StreamName,
    overrides: Overrides = None,
    path: Annotated[Path | None, typer.Option(help="The stream's files, instead of data.path.")] = None,
    config_dir: ConfigDir = None,
    debug: Debug = False,
) -> None:
    """Report all problems of a stream's files at once; overrides as for `cmt run` say what a run would read."""
    from cmt_cli.commands import stream_files

    stream_files.check(stream_files.settings_of(name, overrides or (), path=path, config_dir=config_dir))


@app.command()
def prepare(
    name: StreamName,
    revision: Annotated[
        list[str] | None,
        typer.Option(help="A commit of the hub's data set to take; DATASET@COMMIT where there are several."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Get a stream's files where their licence allows it, else say how."""
    from cmt_cli.commands import stream_files

    stream_files.prepare(name, revision or ())
