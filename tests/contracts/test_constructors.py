"""The list of what configurations may name is what they name, and says what it returns."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from cmt_cli.config import catalog, targets
from cmt_cli.config.constructors import CONSTRUCTORS, PARTS
from cmt_cli.config.value_types import returned, signature

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"^\s*_target_:\s*([\w.]+)", re.MULTILINE)
TRUST = re.compile(r"^\s*(?:trust_remote_code|trusted_targets):\s*(\S+)", re.MULTILINE)


def test_no_yaml_of_the_package_trusts_anybody() -> None:
    texts = [path.read_text(encoding="utf-8") for path in catalog.conf_dir().rglob("*.yaml")]
    given = {value for text in texts for value in TRUST.findall(text)}
    assert given == {"false", "[]"}


def named(*folders: Path) -> set[str]:
    """Return the targets of all yaml files, but for launchers and sweepers, which Hydra makes itself."""
    files = [path for folder in folders for path in folder.rglob("*.yaml") if "hydra" not in path.parts]
    return {target for path in files for target in NAMED.findall(path.read_text(encoding="utf-8"))}


def test_the_list_equals_what_yamls_name() -> None:
    assert named(catalog.conf_dir()) == CONSTRUCTORS
    assert {target for target in named(ROOT / "templates") if target.startswith("cmt_cli.")} <= CONSTRUCTORS


@pytest.mark.parametrize("target", sorted({*CONSTRUCTORS, *PARTS.values()} - {PARTS["logger"], PARTS["probes"]}))
def test_types_of_parameters_and_results_are_known(target: str) -> None:
    module, _, name = target.rpartition(".")
    found = (
        getattr(__import__(module, fromlist=[name]), name) if target in PARTS.values() else targets.resolve(target, ())
    )
    assert isinstance(returned(found), type)
    for parameter in signature(found).parameters.values():
        assert not isinstance(parameter.annotation, str) and parameter.annotation is not inspect.Parameter.empty
