"""Compose a run's configuration once, and check all of it that can be checked without weights."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cmt_cli.config import catalog, compose, references, spelling
from cmt_cli.config.errors import explain
from cmt_cli.config.settings import Settings, check_targets
from cmt_cli.core.exceptions import CmtWarning, UserError, ended

GROUPS = ("method", "data", "model")  # whose chosen names make up a run's name


@dataclass(frozen=True, slots=True)
class Request:
    """What was given on the command line: Hydra overrides, and where further configuration files lie."""

    overrides: tuple[str, ...]
    multirun: bool = False
    config_dir: Path | None = None

    def dirs(self) -> list[Path]:
        """Return the folders of configuration files, first match first."""
        return catalog.search_dirs(self.config_dir)

    def first(self) -> Request:
        """Return the request of a sweep's first job; of a single run, the request itself."""
        if not self.multirun:
            return self
        single = tuple(compose.first_values(self.overrides, self.dirs()))
        return dataclasses.replace(self, overrides=single, multirun=False)


def composed(request: Request) -> DictConfig:
    """Compose the (first) job's configuration with its `hydra` node; raise UserError for what cannot be composed."""
    dirs = request.dirs()
    try:
        return compose.compose(request.first().overrides, dirs)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, request.overrides, dirs) from error


def given(hydra: DictConfig) -> list[str]:
    """Return a job's overrides word for word, from its `hydra` node, which would resolve what they refer to."""
    words: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return [str(word) for word in words]


def settings_of(config: DictConfig, choices: Any, overrides: Sequence[str] = ()) -> Settings:
    """Return plain settings, resolved but for references to environment variables.

    Raises UserError for missing values and interpolations that lead nowhere.
    """
    shown = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        with references.kept():
            missing = sorted(OmegaConf.missing_keys(shown))
            if missing:
                raise UserError(f"{missing[0]} has no value yet. Give it one: {missing[0]}=...")
            resolved: Any = spelling.read(references.written(OmegaConf.to_container(shown, resolve=True)))
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {ended(str(error).splitlines()[0])}") from error
    names = {group: str(choices[group]).replace("/", "_") for group in GROUPS}
    return Settings(resolved, names, tuple(overrides))


def check(request: Request) -> Settings:
    """Compose and check a request, see `checked`."""
    return checked(composed(request), request.dirs())


def checked(config: DictConfig, dirs: Sequence[Path]) -> Settings:
    """Check names, keys, targets, types and whether the method goes with the stream; raise UserError, else resolve."""
    choices = config.hydra.runtime.choices
    settings = settings_of(config, choices, given(config.hydra))
    stream = catalog.find("data", choices.data, dirs)
    for name in (choices[key] for key in choices if key.partition("@")[0] == "method"):  # members of a combination, too
        reason = catalog.incompatibility(catalog.find("method", name, dirs), stream)
        if reason:
            raise UserError(f"method={name} data={choices.data}: {reason}. `cmt list matrix` shows what fits.")
    seed = settings.config["seed"]
    if isinstance(seed, bool) or not isinstance(seed, int):  # before the parts that it is handed to are checked
        raise UserError(f"seed={seed!r} is a {type(seed).__name__}; allowed: int.")
    check_targets(settings)
    for place in references.plain_secrets(settings.config):
        warnings.warn(
            f"{place} looks like a secret, and its value is written into config.yaml and sent to W&B. Keep it in an "
            f"environment variable and give '{place}=${{oc.env:NAME}}' in single quotation marks.",
            CmtWarning,
            stacklevel=2,
        )
    return settings
