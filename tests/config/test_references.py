"""A reference to an environment variable stays in what is recorded; parts get the variable's value."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from cmt_cli.config import references
from cmt_cli.core.exceptions import UserError


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/private/place")
    monkeypatch.setenv("COUNT", "3")
    monkeypatch.delenv("ABSENT", raising=False)


def read(**keys: Any) -> Any:
    with references.kept():
        return references.written(OmegaConf.to_container(OmegaConf.create(keys), resolve=True))


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("${oc.env:PLACE}", "/private/place"),
        ("${oc.env:PLACE}/x/${oc.env:COUNT}", "/private/place/x/3"),
        ("${oc.env:ABSENT,null}", None),
        ("${oc.env:ABSENT,'an \\'other\\' {place}'}", "an 'other' {place}"),
        ("${oc.env:ABSENT,'${oc.env:PLACE}/x'}", "/private/place/x"),
    ],
)
def test_a_reference_is_kept_and_expanded(reference: str, value: str | None) -> None:
    assert read(a=reference)["a"] == reference
    assert references.expanded({"a": [reference]}) == {"a": [value]}


def test_what_points_to_a_reference_is_one() -> None:
    assert read(a="${oc.env:PLACE}", b="${a}/x") == {"a": "${oc.env:PLACE}", "b": "${oc.env:PLACE}/x"}
    assert OmegaConf.to_container(OmegaConf.create({"a": "${oc.env:PLACE}"}), resolve=True) == {"a": "/private/place"}


def test_a_number_is_an_ordinary_setting() -> None:
    assert read(a="${oc.decode:${oc.env:COUNT}}") == {"a": 3}
    with pytest.raises(Exception, match=r"a text is given as \$\{oc.env:PLACE\} alone"):
        read(a="${oc.decode:${oc.env:PLACE}}")


def test_an_absent_variable_is_named_with_its_key() -> None:
    with pytest.raises(UserError, match=r"data\.path takes its value from the environment variable ABSENT"):
        references.expanded({"data": {"path": "${oc.env:ABSENT}"}})
    with pytest.raises(UserError, match="is no reference to a variable"):
        references.expanded({"a": "${oc.env:${x}}"})


def test_values_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNT", "${oc.env:PLACE}")
    assert references.expanded({"a": "${oc.env:COUNT}"}) == {"a": "${oc.env:PLACE}"}


def test_variables_are_found_at_any_depth() -> None:
    tree = {"a": [{"b": "${oc.env:X,'${oc.env:Y}'}"}], "c": "${oc.env:X}", "d": "oc.env:Z"}
    assert references.names(tree) == {"X": "a[0].b", "Y": "a[0].b"}


def test_errors_show_the_reference() -> None:
    with pytest.raises(UserError, match=r"^no \$\{oc.env:PLACE\}/x$"), references.hiding({"a": "${oc.env:PLACE}"}):
        raise UserError("no /private/place/x")


def test_secrets_are_known_by_their_keys() -> None:
    tree = {"api_key": "k", "model": {"hf_token": "t", "stop_token": "</s>", "max_new_tokens": 3, "token": None}}
    assert references.plain_secrets(tree) == ["api_key", "model.hf_token"]
    assert references.plain_secrets({"url": "https://me:pass@host/x", "password": "${oc.env:P}"}) == ["url"]
