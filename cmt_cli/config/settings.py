"""The settings of one run: its resolved configuration as plain values, and the checks that every run passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cmt_cli.config import targets


@dataclass(frozen=True, slots=True)
class Settings:
    """A resolved configuration, the names of the chosen method, data and model, and the overrides as given."""

    config: Mapping[str, Any]
    names: Mapping[str, str]
    overrides: tuple[str, ...] = ()

    @property
    def trusted(self) -> tuple[str, ...]:
        """Return the packages besides this one whose classes the configuration may name."""
        return tuple(self.config["trusted_targets"])


def check_targets(settings: Settings) -> None:
    """Raise UserError for a `_target_` that may not be called, and for keys, types and parts that do not fit."""
    targets.check_trust(settings.config, settings.trusted)
    targets.check_arguments(settings.config, settings.trusted)
    targets.check_parts(settings.config, settings.trusted)
