"""Hydra's launcher for Ray, which here survives a job that Ray gives up.

Hydra's own raises at the first such job and would take the others with it.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor

import ray
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_ray_launcher import ray_launcher
from ray.exceptions import RayError

from cmt_cli.core.exceptions import UserError

_CONNECT_SECONDS = 5.0


class RayLauncher(ray_launcher.RayLauncher):
    """Hand the jobs to Ray and wait for them."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Return when all jobs have ended; raise BrokenExecutor, with no job running any more, where Ray lost one."""
        _check_address(self.ray_cfg.init.address)
        try:
            return super().launch(job_overrides, initial_job_idx)
        except RayError as error:
            raise BrokenExecutor(str(error)) from error
        finally:
            ray.shutdown()


def _check_address(address: str | None) -> None:
    """Raise UserError where nothing listens at `host:port`; Ray itself would try for minutes."""
    host, colon, port = str(address).rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.rpartition("/")[2], int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"hydra.launcher.ray.init.address={address}: no Ray cluster answers there ({error})."
        ) from error
