"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cmt_cli.commands import completion

ConfigDir = Annotated[Path | None, typer.Option(help="A folder with further method/, data/, ... files.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Code that the folder may execute (a package, a model), or oc.env:VARIABLE that it may read.",
    ),
]
TrustSweep = Annotated[
    list[str] | None,
    typer.Option(metavar="ENTRY", help="An entry of sweep.json that executes code or says where to write."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunName = Annotated[str, typer.Argument(help="A run folder, or its name in runs/.", autocompletion=completion.runs)]
NumProcesses = Annotated[
    int | None, typer.Option(help="Make the run in N processes of this machine, with trainer.distributed=ddp or fsdp2.")
]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Only these runs: 'data=squad, method=cmt|mac, seed<3, trainer.task.num_epochs=1'."),
]
SweepName = Annotated[str, typer.Argument(help="A sweep's folder, its name in runs/.sweeps/, or latest.")]
StreamName = Annotated[str, typer.Argument(help="A stream, see `cmt list data`.", autocompletion=completion.streams)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE...",
        help="Any Hydra override: method=mac, trainer.task.learning_rate=1e-4, +new.key=1, ~gone.",
        autocompletion=completion.overrides,
    ),
]
