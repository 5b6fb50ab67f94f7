"""One run: its settings, and the parts that are built from them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cmt_cli.config import own_places, references, targets
from cmt_cli.config.settings import Settings, check_targets
from cmt_cli.config.trust import refuse_untrusted
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.process_group import DISTRIBUTED
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Stream
from cmt_cli.running.baselines import MODES
from cmt_cli.running.identity import Identity, config_hash, folder_name
from cmt_cli.running.older_runs import refuse_moved
from cmt_cli.running.run_files import read_config, reading, refuse_links
from cmt_cli.terminal.text import say

_NAMES = ("method", "data", "model")  # of a run's choices, those that name it
_NO_PROBES = {"probes": {"_target_": "cmt_cli.evaluation.probes.NoProbes"}}
_FORMER = {
    "baselines": "none",
    "baseline_methods": {},
    **_NO_PROBES,
}  # in the place of keys that the record of an older run lacks
_GROUPS = (*_NAMES, "trainer", "evaluator", "logger", "paths")


@dataclass(frozen=True, slots=True)
class Job(Settings):
    """The settings of a run, and the parts that are built from them.

    `own_paths` are a loaded run's `paths.runs` and `paths.cache`, in the place of those that its config.yaml names.
    """

    own_paths: Mapping[str, str] = field(default_factory=dict, compare=False)

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
        given = self.resolved["trainer"].get("distributed", "none")  # the record of an older run has none
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
        config = {**self.config, "method": settings, "baselines": "none", **_NO_PROBES}
        return Job(config, {**self.names, "method": method}, own_paths=self.own_paths)

    @property
    def without_probes(self) -> Job:
        """Return the same run that asks only the stream's own tests; its scores of these are the same."""
        return replace(self, config={**self.config, **_NO_PROBES})

    @property
    def identity(self) -> Identity:
        """Return the names under which the run is filed."""
        return Identity(**self.names, seed=self.config["seed"], config_hash=config_hash(self.config))

    def build(self, group: str) -> Any:
        """Instantiate one group of the configuration."""
        with references.hiding(self.config):
            node = self.config[group] if group in self.config else _FORMER[group]
            return targets.instantiate(references.expanded(node, group), self.trusted)

    @property
    def cache(self) -> Path:
        """Return the folder of what can be made again."""
        return Path(os.path.expanduser(self._place("cache")))  # pathlib refuses "~" where there is no home

    def stream(self) -> Stream:
        """Build the stream, or take what the cache keeps of it; say so where files are read for the first time.

        Its provenance has the hash of all that it holds.
        """
        from cmt_cli.data.files.problems import ProblemError
        from cmt_cli.data.files.stream_cache import cached
        from cmt_cli.data.files.stream_content import identified

        settings = references.expanded(self.config["data"], "data")
        try:
            with references.hiding(self.config):
                stream = identified(cached(settings, lambda: self.build("data"), cache=self.cache, note=_note))
        except ProblemError as error:
            raise error.of_command(self.names["data"], self.overrides) from error
        for name in references.told(self.config, _recorded(stream, self.resolved)):
            _note(
                f"Warning: the value of ${{oc.env:{name}}} stands in prompts, or names the data, the model or the W&B "
                "project, so that it is recorded in the run folder and sent to W&B."
            )
        return stream

    def model_files(self) -> dict[str, str] | None:
        """Return the sha256 of the files of the run's models; None where they are not here, or not known before."""
        from cmt_cli.models.model_digests import digests_of

        return digests_of(self.resolved, self.cache, _note)

    def folder(self, stream: Stream) -> Path:
        """Return the run's folder; its name says where the data are generated or are the validation split.

        Raises UserError where `paths.runs` is a file, or lies below one.
        """
        runs = Path(self._place("runs"))
        there = next(path for path in (runs, *runs.parents, Path()) if path.exists())
        if not there.is_dir():
            raise UserError(f"paths.runs={runs}: {there} is a file. Name the folder that run folders are made in.")
        return runs / folder_name(self.identity, stream.provenance)

    def _place(self, name: str) -> str:
        if name in self.own_paths:
            return self.own_paths[name]
        return str(references.expanded(self.config["paths"][name], f"paths.{name}"))


def _recorded(stream: Stream, config: Mapping[str, Any]) -> list[str]:
    """Return texts that the record of a run will hold, of each kind one; `config` is resolved."""
    examples = [example for task in stream.tasks for example in task.train[:1]]
    examples += [example for test in stream.tests for example in test.examples[:1]]
    source = stream.provenance
    described = [source.note, source.name, *source.files, *(test.name for test in stream.tests)]
    named = [config["model"].get(key) for key in ("name_or_path", "revision")]
    named += [(config.get("logger") or {}).get(key) for key in ("project", "entity")]
    return [str(text) for text in (*described, *named, *(e.prompt for e in examples), *(e.target for e in examples))]


def _note(text: str) -> None:
    say(text, sys.stderr)


def _check_form(config: Mapping[str, Any]) -> None:
    """Raise TypeError or KeyError for what no configuration of a run looks like; its parts are checked later."""
    for name in _GROUPS:
        if not isinstance(config[name], Mapping):
            raise TypeError(f"{name} is a {type(config[name]).__name__}")
    for key, kind in {
        "seed": int,
        "trusted_targets": list,
        "baselines": str,
        "baseline_methods": Mapping,
        "probes": Mapping,
    }.items():
        if not isinstance(config.get(key, _FORMER.get(key)), kind):
            raise TypeError(f"{key} is a {type(config.get(key)).__name__}")
    size = config.get("size")
    if size is not None:
        above, up_to = size["num_parameters"]
        if not (isinstance(size["name"], str) and isinstance(above, int | float) and isinstance(up_to, int | float)):
            raise TypeError("size needs a name and two numbers as num_parameters")


def load(folder: Path, trusted: Sequence[str]) -> Job:
    """Read a run folder's configuration as a job.

    A folder may come from somebody else, so what its file calls trusted counts only as far as `trusted` repeats it:
    names of packages, and of models whose repositories hold code. Raises UserError for what is not named. The job
    writes beside its folder and in the user's cache, wherever the file says; a note tells what is not used of it.
    """
    refuse_links(folder)
    config = read_config(folder)
    path, advice = folder / "config.yaml", "A run's config.yaml must not be changed by hand."
    with reading(path, advice):
        hydra = config.pop("hydra")
        names = {name: str(hydra["runtime"]["choices"][name]) for name in _NAMES}
        overrides = list(map(str, hydra.get("overrides", {}).get("task", ())))
    refuse_moved(folder, config, overrides)  # another version may have had other groups
    with reading(path, advice):
        _check_form(config)
    refuse_untrusted(config, trusted, path=path)
    paths = own_places.own_paths(folder)
    with reading(path, advice):
        config, replaced = own_places.confined(config, paths)
    job = Job(config, names, tuple(overrides), own_paths=paths)
    check_targets(job)
    if replaced:
        unused = ", ".join(f"{key}={value}" for key, value in replaced.items())
        _note(
            f"Places that {folder}/config.yaml names are not written to: {unused}. The run stays in its folder, and "
            f"what can be made again goes to {paths['cache']} (CMT_CACHE)."
        )
    return job
