"""`--processes N`: the same command once more, in N processes of this machine that torchrun starts and watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cmt_cli.core.exceptions import UserError
from cmt_cli.distributed.environment import distributed_environment

OPTION = "--processes"


def start(num: int, distributed: str, arguments: Sequence[str]) -> NoReturn:
    """Become the program that starts `num` processes with these arguments; raise UserError where that cannot work."""
    if num < 1:
        raise UserError(f"{OPTION} {num}, but a run needs at least one process.")
    if distributed_environment(os.environ) is not None:
        raise UserError(f"{OPTION} {num}, but this is one of several processes that were started already.")
    if distributed == "none":
        raise UserError(
            f"{OPTION} {num} needs trainer.distributed=ddp (each rank holds the whole model) or fsdp2 (its weights "
            "are sharded)."
        )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num)]
    os.execv(sys.executable, [*launcher, "-m", "cmt_cli", *without_option(arguments)])


def without_option(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without `--processes N` in either of its forms."""
    kept: list[str] = []
    skips_next = False
    for argument in arguments:
        if not skips_next and argument != OPTION and not argument.startswith(f"{OPTION}="):
            kept.append(argument)
        skips_next = argument == OPTION and not skips_next
    return kept


def refuse_sweep(num: int | None) -> None:
    """Raise UserError where several processes, `num` or those already started, would each hand out a sweep's jobs."""
    place = distributed_environment(os.environ)
    if num is not None or (place is not None and place.world_size > 1):
        raise UserError(
            "A sweep is handed out by one process, and the launcher starts the processes of each job: cmt run -m "
            "hydra/launcher=submitit_local (or submitit_slurm) hydra.launcher.tasks_per_node=2 trainer.distributed=ddp "
            "..."
        )
