"""Hydra's compose API and override grammar: one configuration, or the jobs of a sweep."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from cmt_cli.config import catalog
from cmt_cli.core.exceptions import UserError

CONFIG_NAME = "run"
OWN_PLUGINS = "hydra_plugins.cmt_sweeps."
PLUGIN_GROUPS = ("launcher", "sweeper")


def by_size(*values: Any, _root_: DictConfig) -> Any:
    """Return the value for the base model's size: `${by_size:EMBEDDED,SMALL,LARGE}` in a yaml."""
    if len(values) != len(catalog.SIZES):
        names = ", ".join(catalog.SIZES)
        raise ValueError(f"by_size takes a value for each of {names}, and has {len(values)}")
    return values[catalog.SIZES.index(_root_["size"]["name"])]


OmegaConf.register_new_resolver("by_size", by_size, replace=True)


def compose(overrides: Sequence[str], dirs: Sequence[Path]) -> DictConfig:
    """Compose one configuration with its `hydra` node; let Hydra's and OmegaConf's errors travel."""
    prefer_files(dirs)
    further = ",".join(f"'file://{folder}'" for folder in dirs[1:])
    searched = [f"hydra.searchpath=[{further}]"] if further else []
    with hydra.initialize_config_dir(str(dirs[0]), version_base="1.3"):
        return hydra.compose(CONFIG_NAME, [*searched, *overrides], return_hydra_config=True)


def prefer_files(dirs: Sequence[Path]) -> None:
    """Let the launchers and sweepers of conf/hydra stand for those that plugins store under the same names.

    Hydra would check such a file against the plugin's own schema, a deprecated habit that refuses further keys.
    """
    Plugins.instance()  # storing their schemas is what plugins do when they are found
    stored = ConfigStore.instance().repo["hydra"]
    for group in PLUGIN_GROUPS:
        for option in catalog.options(f"hydra/{group}", dirs):
            stored[group].pop(f"{option.name}.yaml", None)


def register(targets: Sequence[str]) -> None:
    """Make the launchers and sweepers known to Hydra that it does not find by itself: those that need an extra."""
    for target in targets:
        module, _, name = target.rpartition(".")
        if module.startswith(OWN_PLUGINS):
            try:
                found = vars(importlib.import_module(module))[name]
            except ModuleNotFoundError as error:
                raise UserError(f"{target} needs the package '{error.name}', which is not installed.") from error
            Plugins.instance().register(found)


def first_values(overrides: Sequence[str], dirs: Sequence[Path]) -> list[str]:
    """Replace each sweep by its first value; other overrides pass unchanged."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [f"{o.get_key_element()}={sweep_values(o, dirs)[0]}" if o.is_sweep_override() else _line(o) for o in parsed]


def jobs(overrides: Sequence[str], dirs: Sequence[Path]) -> list[list[str]]:
    """Return the overrides of every job of a grid sweep, the last key varying fastest."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    choices = [
        [f"{o.get_key_element()}={value}" for value in sweep_values(o, dirs)] if o.is_sweep_override() else [_line(o)]
        for o in parsed
    ]
    return [list(job) for job in itertools.product(*choices)]


def sweep_values(override: Override, dirs: Sequence[Path]) -> list[str]:
    """Return the values of one sweep as text; an interval has none but its start, which stands for it."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start)]
    if isinstance(value, Glob):
        values = value.filter([option.name for option in catalog.options(override.key_or_group, dirs)])
    else:
        values = list(override.sweep_string_iterator())
    if not values:
        raise UserError(f"{_line(override)} matches nothing.")
    return values


def _line(override: Override) -> str:
    assert override.input_line is not None, "a parsed override keeps its line"
    return override.input_line


def quoted(value: str) -> str:
    """Return a value as Hydra's grammar reads it back, whatever characters it has."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
