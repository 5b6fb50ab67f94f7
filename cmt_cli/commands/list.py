"""`cmt list`: what can be run."""

from __future__ import annotations

from typing import Annotated

import typer

from cmt_cli.commands import completion
from cmt_cli.commands.options import AsJson, ConfigDir
from cmt_cli.core.exceptions import UserError


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="methods, data, models, experiments or matrix.", autocompletion=completion.kinds),
    ] = None,
    name: Annotated[str | None, typer.Argument(help="Show all of this one.", autocompletion=completion.names)] = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
) -> None:
    """List what can be run; `matrix` shows which method goes with which stream."""
    from cmt_cli.commands import listing
    from cmt_cli.config import catalog

    if kind is None:
        raise UserError(f"cmt list needs what to list: {', '.join(completion.kinds(''))}.")
    listing.show(kind, catalog.search_dirs(config_dir), name=name, as_json=as_json)
