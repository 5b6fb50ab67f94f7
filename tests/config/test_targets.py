"""A mapping with `_target_` becomes an object, if its target is trusted and its keys are the constructor's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from cmt_cli.config import targets
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError

DECODING = {
    "_target_": "cmt_cli.core.decoding.Decoding",
    "max_new_tokens": 4,
    "batch_size": 2,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0,
    "stop_text": None,
}


class Holder:
    """What a package outside this one might define."""

    def __init__(self, *, parts: Sequence[Any], mode: Literal["a", "b"], rate: float) -> None:
        self.parts, self.mode, self.rate = parts, mode, rate


HOLDER = {"_target_": f"{__name__}.Holder", "parts": [DECODING, {"x": [1]}], "mode": "a", "rate": 1}
TRUSTED = (__name__,)


def test_nested_targets_are_built_innermost_first() -> None:
    built = targets.instantiate(HOLDER, TRUSTED)
    assert isinstance(built, Holder)
    assert isinstance(built.parts[0], Decoding)
    assert built.parts[0].max_new_tokens == 4
    assert built.parts[1] == {"x": (1,)}


@pytest.mark.parametrize(
    "target",
    [
        3,
        "os.system",
        "subprocess.run",
        "cmt_cli_evil.run",
        "cmt_cli.config.targets.instantiate",  # could lift the checks
        "cmt_cli.core.atomic.write_text",  # harmless where its module calls it
        "cmt_cli.data.files.generated.generator_version",
        "cmt_cli.methods.controls.frozen",
        "cmt_cli.core.decoding.torch.load",  # reached through what a trusted module imports
        "cmt_cli.core.decoding.Tensor",  # imported by a trusted module, defined elsewhere
        "cmt_cli.core.decoding.annotations",
        "cmt_cli.core.decoding.Decoding.__init__",
        "cmt_cli.core.nothing.Here",
        "cmt_cli.core.decoding.Nothing",
        "",
    ],
)
def test_targets_outside_the_trusted_packages_are_refused(target: str) -> None:
    with pytest.raises(UserError, match="_target_"):
        targets.resolve(target, ())


def test_every_nested_target_is_checked_before_anything_is_imported() -> None:
    tree = {"model": {"_target_": "cmt_cli.models.embedded.load", "parts": [{"deep": {"_target_": "antigravity.fly"}}]}}
    with pytest.raises(UserError, match=r"antigravity\.fly.*trusted_targets"):
        targets.check_trust(tree, ())


@pytest.mark.parametrize("key", ["_args_", "_partial_", "_recursive_", "_convert_"])
def test_special_keys_of_other_instantiation_schemes_are_refused(key: str) -> None:
    with pytest.raises(UserError, match=f"decoding.{key}"):
        targets.check_trust({"decoding": {**DECODING, key: True}}, ())


def test_a_trusted_prefix_ends_at_a_package_boundary() -> None:
    targets.check_name("mine.layers.X", ["mine"])
    with pytest.raises(UserError):
        targets.check_name("mine_too.X", ["mine"])


@pytest.mark.parametrize("target", ["mine._layers.X", "mine.layers._x", "mine.layers.X.__init__"])
def test_private_names_of_trusted_packages_are_refused(target: str) -> None:
    with pytest.raises(UserError, match="is private"):
        targets.check_name(target, ["mine"])


def test_trust_adds_nothing_to_this_packages_list() -> None:
    with pytest.raises(UserError, match="configurations may name"):
        targets.check_name("cmt_cli.core.atomic.write_text", ["cmt_cli", "cmt_cli.core"])


def test_a_misspelled_constructor_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'cmt_cli\.core\.decoding\.Decoding'"):
        targets.check_name("cmt_cli.core.decoding.Decodin", ())


def test_an_unknown_keyword_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"evaluator.decoding.num_beam: .* Did you mean 'num_beams'\?"):
        targets.check_arguments({"evaluator": {"decoding": {**DECODING, "num_beam": 3}}}, ())


def test_a_missing_keyword_is_named() -> None:
    tree = {"decoding": {key: value for key, value in DECODING.items() if key != "batch_size"}}
    with pytest.raises(UserError, match=r"also needs batch_size"):
        targets.check_arguments(tree, ())


@pytest.mark.parametrize(
    ("key", "value", "allowed"), [("mode", "c", "'a', 'b'"), ("rate", "fast", "float"), ("rate", True, "float")]
)
def test_a_wrong_type_is_reported_with_the_allowed_ones(key: str, value: Any, allowed: str) -> None:
    with pytest.raises(UserError, match=rf"holder\.{key}=.*{allowed}"):
        targets.check_arguments({"holder": {**HOLDER, key: value}}, TRUSTED)


def test_a_nested_target_is_what_the_parameter_declares() -> None:
    budget = {"_target_": "cmt_cli.layers.trainable.Unchanged"}
    tree = {"evaluator": {"_target_": "cmt_cli.evaluation.evaluator.Evaluator", "decoding": budget}}
    with pytest.raises(
        UserError, match=r"evaluator\.decoding is a cmt_cli\.layers\.trainable\.Unchanged; .* Decoding\."
    ):
        targets.check_arguments(tree, ())
    del budget["_target_"]
    with pytest.raises(UserError, match=r"evaluator\.decoding is a mapping without _target_; allowed: Decoding\."):
        targets.check_arguments(tree, ())


def test_members_of_mappings_and_lists_are_named() -> None:
    frozen = {"_target_": "cmt_cli.methods.controls.frozen.Frozen"}
    tree = {"method": {"_target_": "cmt_cli.methods.combination.Combination", "methods": {"x": frozen}, "order": ["x"]}}
    with pytest.raises(UserError, match=r"method\.methods\.x is a .*Frozen; allowed: FineTune"):
        targets.check_arguments(tree, ())
    with pytest.raises(UserError, match=r"holder\.parts\[1\] is a mapping without _target_; allowed: Decoding"):
        targets.check_arguments({"holder": {"_target_": f"{__name__}.Decodings", "parts": [DECODING, {}]}}, TRUSTED)


class Decodings:
    """What takes several parts."""

    def __init__(self, *, parts: Sequence[Decoding]) -> None:
        self.parts = parts


@pytest.mark.parametrize("group", ["method", "data", "model", "evaluator", "trainer", "logger"])
def test_a_group_builds_its_own_part_only(group: str) -> None:
    for node in (DECODING, {}, 3):
        with pytest.raises(UserError, match=rf"^{group}( is a|=3)"):
            targets.check_parts({group: node}, ())


def test_baselines_are_methods() -> None:
    with pytest.raises(UserError, match=r"baseline_methods\.joint is a .*Decoding; allowed: Method"):
        targets.check_parts({"baseline_methods": {"joint": DECODING}}, ())


def test_words_read_as_truth_values_are_refused() -> None:
    node = {"_target_": "cmt_cli.data.instructions.trace.trace", "order": [False, True]}
    with pytest.raises(UserError, match="put such words in quotation marks"):
        targets.check_arguments(node, ())
