"""Which process this is, from what each launcher puts in the environment."""

from __future__ import annotations

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.distributed.environment import check_environment, distributed_environment, first_host

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node7", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
}
SUBMITIT = {
    "SUBMITIT_LOCAL_NTASKS": "2",
    "SUBMITIT_LOCAL_GLOBALID": "1",
    "SUBMITIT_LOCAL_LOCALID": "1",
    "SUBMITIT_LOCAL_JOB_ID": "123",
}


def test_torchrun() -> None:
    place = distributed_environment(TORCHRUN)
    assert place is not None
    assert (place.rank, place.world_size, place.local_rank, place.address, place.port) == (3, 4, 1, "node7", 29500)


def test_srun_on_two_nodes_meets_on_the_first() -> None:
    place = distributed_environment(SRUN)
    assert place is not None
    assert (place.rank, place.world_size, place.local_rank, place.address) == (5, 8, 1, "gpu03")
    other = distributed_environment({**SRUN, "SLURM_PROCID": "0"})
    assert other is not None and other.port == place.port


def test_two_jobs_meet_at_different_ports() -> None:
    ports = {
        place.port
        for n in range(20)
        if (place := distributed_environment({**SRUN, "SLURM_JOB_ID": str(n)})) is not None
    }
    assert len(ports) == 20


def test_a_batch_script_alone_is_no_distributed_run() -> None:
    assert distributed_environment({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_ID": "77"}) is None
    assert distributed_environment({}) is None


def test_tasks_of_a_local_submitit_job() -> None:
    place = distributed_environment(SUBMITIT)
    assert place is not None and (place.rank, place.world_size, place.address) == (1, 2, "127.0.0.1")


def test_torchrun_inside_srun_comes_first() -> None:
    place = distributed_environment({**SRUN, **TORCHRUN})
    assert place is not None and place.world_size == 4


@pytest.mark.parametrize(
    ("nodes", "first"), [("n1", "n1"), ("n1,n2", "n1"), ("gpu[03-04,9]", "gpu03"), ("a-b[7,9-10],c1", "a-b7")]
)
def test_the_first_host_of_slurms_short_form(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_several_processes_without_being_told_are_refused() -> None:
    with pytest.raises(UserError, match=r"4 processes were started, but trainer\.distributed=none"):
        check_environment("none", distributed_environment(TORCHRUN))
    with pytest.raises(UserError, match=r"single process.*cmt run --processes 2"):
        check_environment("ddp", None)
    with pytest.raises(UserError, match="MASTER_PORT"):
        distributed_environment({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "here"})
    check_environment("none", None)
    check_environment("none", distributed_environment({**TORCHRUN, "WORLD_SIZE": "1"}))
    check_environment("ddp", distributed_environment(TORCHRUN))
