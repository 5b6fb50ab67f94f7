"""Rank and world size of this process, from the environment that torchrun, srun or submitit sets.

Only the environment is read; nothing heavy is imported.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cmt_cli.core.exceptions import UserError

FIRST_PORT, NUM_PORTS = 20000, 20000
HOW = (
    "On one machine: `cmt run --processes 2 ...` (one for each GPU). With a launcher of your own: `torchrun "
    "--nproc-per-node 2 -m cmt_cli run ...`; under Slurm `srun --ntasks-per-node=2 cmt run ...`, or a sweep with "
    "hydra.launcher.tasks_per_node=2."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributedEnvironment:
    """Rank, world size, rank on this machine, and the address and port at which rank 0 listens."""

    rank: int
    world_size: int
    local_rank: int
    address: str
    port: int


def distributed_environment(environment: Mapping[str, str]) -> DistributedEnvironment | None:
    """Return rank and world size, or None where nothing started this process as one of several."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _from_torchrun(environment)
    if int(environment.get("SUBMITIT_LOCAL_NTASKS", "1")) > 1:
        return _from_local_submitit(environment)
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:  # srun, also submitit's; a batch script has only NTASKS
        return _from_srun(environment)
    return None


def is_rank_zero(environment: Mapping[str, str]) -> bool:
    """Return whether this is rank 0, which speaks for all."""
    place = distributed_environment(environment)
    return place is None or place.rank == 0


def _from_torchrun(environment: Mapping[str, str]) -> DistributedEnvironment:
    """Read what torchrun and most other launchers set."""
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing:
        raise UserError(f"RANK and WORLD_SIZE are set, but not {' and '.join(missing)}: where rank 0 listens. {HOW}")
    rank = int(environment["RANK"])
    return DistributedEnvironment(
        rank=rank,
        world_size=int(environment["WORLD_SIZE"]),
        local_rank=int(environment.get("LOCAL_RANK", rank)),
        address=environment["MASTER_ADDR"],
        port=int(environment["MASTER_PORT"]),
    )


def _from_local_submitit(environment: Mapping[str, str]) -> DistributedEnvironment:
    return DistributedEnvironment(
        rank=int(environment["SUBMITIT_LOCAL_GLOBALID"]),
        world_size=int(environment["SUBMITIT_LOCAL_NTASKS"]),
        local_rank=int(environment["SUBMITIT_LOCAL_LOCALID"]),
        address=environment.get("MASTER_ADDR", "127.0.0.1"),
        port=_port(environment, f"submitit {environment['SUBMITIT_LOCAL_JOB_ID']}"),
    )


def _from_srun(environment: Mapping[str, str]) -> DistributedEnvironment:
    is_one_node = int(environment.get("SLURM_STEP_NUM_NODES", "1")) == 1
    first = "127.0.0.1" if is_one_node else first_host(environment["SLURM_STEP_NODELIST"])
    return DistributedEnvironment(
        rank=int(environment["SLURM_PROCID"]),
        world_size=int(environment["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environment["SLURM_LOCALID"]),
        address=environment.get("MASTER_ADDR", first),
        port=_port(environment, f"slurm {environment['SLURM_JOB_ID']}.{environment['SLURM_STEP_ID']}"),
    )


def first_host(nodes: str) -> str:
    """Return the first name of Slurm's short form: n01 of "n[01-04,7]" and of "n01,n02"."""
    found = re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)
    if found is None:
        raise UserError(f"SLURM_STEP_NODELIST='{nodes}' names no host. Set MASTER_ADDR to the host of rank 0.")
    return found.group(1) + (found.group(2) or "")


def _port(environment: Mapping[str, str], job: str) -> int:
    """Return a port that all ranks of a job agree on, and two jobs on one machine hardly ever share."""
    if "MASTER_PORT" in environment:
        return int(environment["MASTER_PORT"])
    return FIRST_PORT + int.from_bytes(hashlib.sha256(job.encode()).digest()[:4], "big") % NUM_PORTS


def check_environment(distributed: str, place: DistributedEnvironment | None) -> None:
    """Raise UserError where `trainer.distributed` and the number of processes contradict each other."""
    if distributed == "none" and place is not None and place.world_size > 1:
        raise UserError(
            f"{place.world_size} processes were started, but trainer.distributed=none: each would make the whole run "
            "in the same folder. Add trainer.distributed=ddp (every rank holds the whole model) or fsdp2 (the "
            "weights are sharded), or start one process."
        )
    if distributed != "none" and place is None:
        raise UserError(f"trainer.distributed={distributed}, but this is a single process. {HOW}")
