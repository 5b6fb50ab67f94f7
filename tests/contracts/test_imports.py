"""Who may import whom, read from the syntax trees: no import against the floors, heavy libraries in their places."""

from __future__ import annotations

import ast
import itertools
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cmt_cli"
SCENARIOS = ("knowledge", "classification", "entities", "relations", "translation", "instructions")
FLOORS = {  # a room uses rooms of lower numbers, and none of its own number but itself
    "core": 1,
    **dict.fromkeys(("data/files", "terminal"), 2),
    "data/hub": 3,  # what the hub has, in the formats of `files`
    "data/labelled": 4,  # labelled corpora and how they become streams
    "data/world": 5,  # the generator, which makes such corpora
    **dict.fromkeys(("layers", "memory", "training", "evaluation", "models"), 6),
    **{f"data/{scenario}": 6 for scenario in SCENARIOS},
    **dict.fromkeys(("methods", "distributed", "probes"), 7),
    "config": 8,
    "running": 9,
    **dict.fromkeys(("analysis", "tracking", "exporting"), 10),
    **dict.fromkeys(("reporting", "sweeps"), 11),
    "commands": 12,
    "": 13,  # `python -m cmt_cli`, and what `import cmt_cli` offers
}
FAMILIES = ("sequential", "replay", "controls", "distillation", "regularization", "architecture", "amortized", "")
PLACES = {
    "hydra": ["config", "commands", "sweeps"],
    "omegaconf": ["config", "commands", "sweeps"],
    "typer": ["commands"],
    "wandb": ["tracking"],
    "wandb_workspaces": ["tracking"],
    "datasets": ["data/hub", "probes"],
    "lm_eval": ["probes"],
    "evaluate": ["probes"],
    "peft": ["core/learner.py", "models", "layers", "exporting"],
    "transformers": ["core", "models", "layers", "exporting"],
    "torch": [
        *("core", "layers", "memory", "training", "evaluation", "methods", "models", "distributed", "running"),
        *("exporting", "commands/machine.py"),
    ],
}
LIGHT = ("data", "config", "commands", "analysis", "__init__.py", "__main__.py")
MAX_MODULES = 25
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.parts[:-1]
    return "/".join(parts[:2]) if parts[:1] == ("data",) else "/".join(parts[:1])


def imports(path: Path, *, nested: bool = True) -> Iterator[str]:
    """Yield the modules that a file imports; `nested` includes those inside functions and type-checking blocks."""
    tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> Iterator[Path]:
    """Yield the files of this package that a file imports."""
    for name in imports(path):
        parts = name.split(".")[1:] if name.startswith("cmt_cli.") else []
        found = (Path(*parts[:end]).with_suffix(".py") for end in range(len(parts), 0, -1))
        yield from itertools.islice((file for file in found if file in FILES), 1)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_down_the_floors(path: Path) -> None:
    for other in own_imports(path):
        mine, theirs = room(path), room(other)
        assert theirs == mine or FLOORS[theirs] < FLOORS[mine], f"{path} imports {other}"


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "methods"], ids=str)
def test_families_of_methods_have_no_cycle(path: Path) -> None:
    def family(file: Path) -> int:
        return FAMILIES.index("/".join(file.parts[1:-1]))

    for other in own_imports(path):
        if other.parts[0] == "methods":
            assert family(other) <= family(path), f"{path} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_heavy_libraries_stay_in_their_places(path: Path) -> None:
    for module in imports(path):
        library = module.split(".")[0]
        if library in PLACES:
            allowed = PLACES[library]
            here = {room(path), room(path).split("/")[0], path.as_posix()}
            assert here & set(allowed), f"{path} imports {library}"


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] in LIGHT], ids=str)
def test_light_rooms_import_nothing_heavy_at_import_time(path: Path) -> None:
    found = {module.split(".")[0] for module in imports(path, nested=False)}
    assert not found & {"torch", "transformers", "wandb", "datasets", "pandas", "scipy"}


def test_no_room_is_crowded() -> None:
    rooms = Counter(path.parent.as_posix() for path in FILES if path.name != "__init__.py")
    assert rooms.pop(".") == 1, "only __init__.py and __main__.py lie at the top"
    assert max(rooms.values()) <= MAX_MODULES


def test_every_imported_distribution_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in requirements}
    modules = {module.split(".")[0] for path in FILES for module in imports(path)}
    distributions = packages_distributions()
    for module in modules - set(sys.stdlib_module_names) - {"cmt_cli"}:
        names = {name.lower().replace("_", "-") for name in distributions.get(module, [module])}
        assert names & declared, f"{module} comes from {names}, which pyproject.toml does not declare"


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"][1:], ids=str)
def test_packages_re_export_nothing(path: Path) -> None:
    assert (PACKAGE / path).read_text() == ""
