"""What the sweepers share: a launcher, the sweep's folder, and how a batch of jobs is launched."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cmt_cli.sweeps.folder import SweepFolder
from cmt_cli.sweeps.stop import stopping

DETACHED = "hydra_plugins.cmt_sweeps._submitit"  # launchers whose jobs outlive the process that starts them


class CellSweeper(Sweeper):
    """A sweeper that hands out jobs of the folder `hydra.sweep.dir`."""

    def __init__(self) -> None:
        """Have no launcher yet."""
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    @property
    def folder(self) -> SweepFolder:
        """Return the sweep's folder."""
        assert self.config is not None
        return SweepFolder(Path(self.config.hydra.sweep.dir))

    def launch(self, batch: Sequence[Sequence[str]]) -> bool:
        """Return when nothing of the batch is under way; False where a killed worker broke the launcher's pool."""
        assert self.launcher is not None
        with stopping(self.folder, is_detached=type(self.launcher).__module__ == DETACHED):
            try:
                self.launcher.launch([list(job) for job in batch], initial_job_idx=0)
            except BrokenExecutor:
                return False
        return True
