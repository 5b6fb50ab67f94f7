"""The settings of one run: its configuration as plain values, and the checks that every run passes.

Interpolations are resolved but for references to environment variables, which are resolved when a part is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cmt_cli.config import references, targets


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration, the names of the chosen method, data and model, and the overrides as given."""

    config: Mapping[str, Any]
    names: Mapping[str, str]
    overrides: tuple[str, ...] = ()

    @property
    def resolved(self) -> dict[str, Any]:
        """Return the configuration with the values of environment variables, which are not to be recorded.

        Raises UserError for one that is not set.
        """
        return dict(references.expanded(self.config))

    @property
    def trusted(self) -> tuple[str, ...]:
        """Return the packages besides this one whose classes the configuration may name."""
        return tuple(self.config["trusted_targets"])


def check_targets(settings: Settings) -> None:
    """Raise UserError for a `_target_` that may not be called, and for keys, types and parts that do not fit."""
    targets.check_trust(settings.config, settings.trusted)
    with references.hiding(settings.config):
        resolved = settings.resolved
        targets.check_arguments(resolved, settings.trusted)
        targets.check_parts(resolved, settings.trusted)
