"""One run: its settings, and the parts that are built from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmt_cli.config import targets
from cmt_cli.config.settings import Settings, check_targets
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.process_group import DISTRIBUTED
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Stream
from cmt_cli.running.baselines import MODES
from cmt_cli.running.identity import Identity, config_hash, folder_name
from cmt_cli.running.older_runs import refuse_moved
from cmt_cli.running.terminal import say


@dataclass(frozen=True, slots=True)
class Job(Settings):
    """The settings of a run, and the parts that are built from them."""

    @classmethod
    def of(cls, settings: Settings) -> Job:
        """Return the job of settings that were checked."""
        return cls(settings.config, settings.names, settings.overrides)

    @property
    def saved(self) -> dict[str, Any]:
        """Return what config.yaml holds: the configuration, and the names where Hydra keeps its choices."""
        hydra = {"runtime": {"choices": dict(self.names)}, "overrides": {"task": list(self.overrides)}}
        return {**self.config, "hydra": hydra}

    @property
    def distributed(self) -> str:
        """Return how the run is spread over processes: "none", "ddp" or "fsdp2"."""
        given = self.config["trainer"].get("distributed", "none")  # the record of an older run has none
        return one_of(given, DISTRIBUTED, "trainer.distributed")

    @property
    def baselines(self) -> str:
        """Return whether missing baselines are made: "auto" or "none"."""
        return one_of(self.config.get("baselines", "none"), MODES, "baselines")

    @property
    def given(self) -> list[str]:
        """Return the user's overrides without `baselines`; where they are not known, the names of the choices."""
        known = self.overrides or [f"{group}={name}" for group, name in self.names.items()]
        return [override for override in known if not override.startswith("baselines=")]

    def baseline(self, method: str) -> Job:
        """Return the same run by a method of `baseline_methods`, training the same parameters where this one says."""
        settings = dict(self.config["baseline_methods"][method])
        own = self.config["method"]
        if own.get("methods") and own.get("order"):  # a combination, whose first member chooses what is trained
            own = own["methods"].get(own["order"][0], own)
        if "trainable" in own:
            settings["trainable"] = own["trainable"]
        config = {**self.config, "method": settings, "baselines": "none"}
        return Job(config, {**self.names, "method": method})

    @property
    def identity(self) -> Identity:
        """Return the names under which the run is filed."""
        return Identity(**self.names, seed=self.config["seed"], config_hash=config_hash(self.config))

    def build(self, group: str) -> Any:
        """Instantiate one group of the configuration."""
        return targets.instantiate(self.config[group], self.trusted)

    def stream(self) -> Stream:
        """Build the stream, or take what the cache keeps of it; say so where files are read for the first time."""
        from cmt_cli.data.files.problems import ProblemError
        from cmt_cli.data.files.stream_cache import cached

        cache = Path(self.config["paths"]["cache"]).expanduser()
        try:
            return cached(self.config["data"], lambda: self.build("data"), cache=cache, note=_note)
        except ProblemError as error:
            raise error.of_command(self.names["data"], self.overrides) from error

    def folder(self, stream: Stream) -> Path:
        """Return the run's folder; its name says where the data are generated or are the validation split.

        Raises UserError where `paths.runs` is a file, or lies below one.
        """
        runs = Path(self.config["paths"]["runs"])
        there = next(path for path in (runs, *runs.parents, Path()) if path.exists())
        if not there.is_dir():
            raise UserError(f"paths.runs={runs}: {there} is a file. Name the folder that run folders are made in.")
        return runs / folder_name(self.identity, stream.provenance)


def _note(text: str) -> None:
    say(text, sys.stderr)


def load(folder: Path, trusted: Sequence[str]) -> Job:
    """Read a run folder's configuration as a job.

    A folder may come from somebody else, so what its file calls trusted counts only as far as `trusted` repeats it.
    """
    import yaml

    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    hydra = config.pop("hydra")
    names, overrides = hydra["runtime"]["choices"], hydra.get("overrides", {}).get("task", ())
    refuse_moved(folder, config, overrides)
    unnamed = [package for package in config["trusted_targets"] if package not in trusted]
    if unnamed:
        raise UserError(
            f"{folder}/config.yaml uses code of {', '.join(unnamed)}. If you trust it, repeat the command with "
            f"{' '.join(f'--trust {package}' for package in unnamed)}."
        )
    job = Job(config, names, tuple(overrides))
    check_targets(job)
    return job
