"""Who may import whom, read from the syntax trees: no upward import, and each heavy library in its place only."""

from __future__ import annotations

import ast
import itertools
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "cmt_cli"
LEVELS = {
    "core": 0,
    **dict.fromkeys(("layers", "memory", "training", "evaluation"), 1),
    **dict.fromkeys(("methods", "data", "models"), 2),
    "running": 3,
    "reporting": 4,  # pages and figures of finished runs: reads what running wrote, and no run needs it
    "": 5,  # the command line: modules directly in the package
}
PLACES = {
    "hydra": [""],
    "omegaconf": [""],
    "typer": [""],
    "wandb": ["tracking/logger.py", "running/loggers.py", "tracking/dashboard.py"],
    "wandb_workspaces": ["tracking/dashboard.py"],
    "datasets": ["data"],
    "peft": ["core/learner.py", "models", "layers"],
    "transformers": ["core", "models", "layers"],
    "torch": ["core", "layers", "memory", "training", "evaluation", "methods", "models", "running", "doctor.py"],
}
LIGHT = (
    "data",
    "cli.py",
    "config.py",
    "catalog.py",
    "listing.py",
    "completion.py",
    "run_folders.py",
    "wandb_commands.py",
)
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def group(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else ""


def imports(path: Path, *, nested: bool = True) -> Iterator[str]:
    """Yield the modules that a file imports; `nested` includes those inside functions and type-checking blocks."""
    tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_upward_import(path: Path) -> None:
    mine = group(path)
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "cmt_cli":
            continue
        other = parts[1] if parts[1] in LEVELS else ""
        assert other == mine or LEVELS[other] < LEVELS[mine], f"{path} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_heavy_libraries_stay_in_their_places(path: Path) -> None:
    for module in imports(path):
        library = module.split(".")[0]
        if library in PLACES:
            allowed = PLACES[library]
            assert group(path) in allowed or path.as_posix() in allowed, f"{path} imports {library}"


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] in LIGHT], ids=str)
def test_streams_and_commands_import_nothing_heavy(path: Path) -> None:
    found = {module.split(".")[0] for module in imports(path, nested=False)}
    assert not found & {"torch", "transformers", "wandb", "datasets"}


def test_every_imported_distribution_is_declared() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in requirements}
    modules = {module.split(".")[0] for path in FILES for module in imports(path)}
    distributions = packages_distributions()
    for module in modules - set(sys.stdlib_module_names) - {"cmt_cli"}:
        names = {name.lower().replace("_", "-") for name in distributions.get(module, [module])}
        assert names & declared, f"{module} comes from {names}, which pyproject.toml does not declare"


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=str)
def test_packages_re_export_nothing(path: Path) -> None:
    assert (PACKAGE / path).read_text() == ""
