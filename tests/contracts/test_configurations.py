"""Every yaml is a call of its constructor, every method has a yaml, and headers name what a list shows."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.config import catalog, check, targets
from cmt_cli.config.catalog import Option
from cmt_cli.config.check import Request

DIRS = [catalog.conf_dir()]
METHODS_FOLDER = Path(targets.__file__).parents[1] / "methods"
FACTS_OF_METHODS = ("family", "needs", "stores")
FACTS_OF_DATA = ("kind",)
PLACES = {  # of the groups that a method's yaml places inside itself: such a method, and where
    "buffer": ("replay", "method.buffer"),
    "compressor": ("cmt", "method.parts.compressor"),
    "injection": ("cmt", "method.parts.injection"),
    "trainable": ("finetune", "method.trainable"),
}
NEEDS = {
    "documents": "needs_documents",
    "episodes": "needs_episodes",
    "labels": "needs_labels",
    "task_id": "needs_task_id",
}
USES = {"old_data", "task_id", "hidden_states"}


def options(*groups: str) -> list[Option]:
    return [option for group in groups for option in catalog.options(group, DIRS)]


def name_of(option: Option) -> str:
    return f"{option.group}/{option.name}"


def resolved(option: Option) -> dict[str, Any]:
    """Compose the option with what it needs to have no open values."""
    overrides = [f"{option.group}={option.name}"]
    if option.group in PLACES:
        method, place = PLACES[option.group]
        overrides = [f"method={method}", f"{option.group}@{place}={option.name}"]
    if option.name == "huggingface":
        overrides.append("model.name_or_path=somewhere")
    if name_of(option) == "probes/lm_eval":
        overrides.append("probes.tasks=[arc_easy]")
    if option.group == "experiment":
        overrides.append("data.source=auto")
    composed = check.composed(Request(tuple(overrides)))
    return dict(check.settings_of(composed, composed.hydra.runtime.choices).config)


GROUPS = [group for group in catalog.group_names(DIRS) if group != "paths"]


@pytest.mark.parametrize("option", options(*GROUPS), ids=name_of)
def test_yaml_keys_equal_the_constructors_signature(option: Option) -> None:
    tree = resolved(option)
    targets.check_trust(tree, ())
    targets.check_arguments(tree, ())
    for where, node in targets.nodes(tree):
        parameters = inspect.signature(targets.resolve(node["_target_"], ())).parameters
        given = set(node) - {"_target_"}
        assert given == set(parameters), f"{where}: not in the yaml {set(parameters) - given}"


@pytest.mark.parametrize("option", options(*GROUPS), ids=name_of)
def test_constructors_take_keywords_without_numeric_defaults(option: Option) -> None:
    for where, node in targets.nodes(resolved(option)):
        for name, parameter in inspect.signature(targets.resolve(node["_target_"], ())).parameters.items():
            assert parameter.kind is parameter.KEYWORD_ONLY, f"{where}.{name}"
            assert not isinstance(parameter.default, int | float), f"{where}.{name} has a second home"


def method_classes() -> Iterator[str]:
    """Yield the dotted names of the public classes in methods/ that are methods, by their bases' names."""
    bases = {"cmt_cli.core.method.Method": {"Method"}}
    known = bases["cmt_cli.core.method.Method"]
    found: dict[str, str] = {}
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(METHODS_FOLDER.rglob("*.py"))}
    for _ in trees:  # a base may stand in a file that comes later
        for path, tree in trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and known & {getattr(base, "id", "") for base in node.bases}:
                    known.add(node.name)
                    module = ".".join(path.relative_to(METHODS_FOLDER).with_suffix("").parts)
                    found[f"cmt_cli.methods.{module}.{node.name}"] = node.name
    abstract = {
        base.id
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
    }
    yield from (name for name, short in found.items() if short not in abstract)


def test_every_method_has_a_yaml() -> None:
    configured = {resolved(option)["method"]["_target_"] for option in options("method")}
    assert set(method_classes()) <= configured


@pytest.mark.parametrize("option", options("method"), ids=name_of)
def test_a_methods_family_is_its_modules_folder(option: Option) -> None:
    assert option.facts["family"] == resolved(option)["method"]["_target_"].split(".")[2]


@pytest.mark.parametrize("option", options("method"), ids=name_of)
def test_a_methods_header_names_what_its_class_needs(option: Option) -> None:
    method: Any = targets.resolve(resolved(option)["method"]["_target_"], ())
    assert set(FACTS_OF_METHODS) <= set(option.facts), option.path
    assert option.words("needs") == {word for word, attribute in NEEDS.items() if getattr(method, attribute)}
    assert option.words("uses") <= USES
    assert ("hidden_states" in option.words("uses")) == method.needs_hidden_states


@pytest.mark.parametrize("option", options("data"), ids=name_of)
def test_a_streams_header_says_what_kind_it_is(option: Option) -> None:
    assert set(FACTS_OF_DATA) <= set(option.facts)
    assert option.words("kind"), option.path


def test_every_default_of_a_run_is_an_option() -> None:
    composed = check.composed(Request(()))
    for group, name in composed.hydra.runtime.choices.items():
        folder = group.partition("@")[0]
        if name is not None and name.startswith("_"):  # a part that stands for another option
            assert (DIRS[0] / folder / f"{name}.yaml").is_file()
        elif not group.startswith("hydra/") and name is not None:
            assert catalog.find(folder, name, DIRS).name == name
