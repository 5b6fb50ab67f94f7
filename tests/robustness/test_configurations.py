"""A config.yaml of somebody else builds nothing but the parts of a run; what would be called only leaves a marker."""

from __future__ import annotations

import pytest

from tests.command_line import cmt
from tests.robustness.folders import FOREIGN, MARKER, edited, finished, put, unfinished

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_else_is_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    key, value, error = FOREIGN[name]
    folder = edited(unfinished(finished()), lambda config: put(config, key, value))
    for words in (["resume", str(folder)], ["ask", str(folder), "Who?"]):
        capsys.readouterr()
        assert cmt(*words) == 2
        assert error in capsys.readouterr().err
        assert not MARKER.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in ("baseline_methods", "trusted_targets") for value in (None, 5, "word")),
        ("baselines", 5),
        ("baseline_methods", [{}]),
        ("size", {"name": "embedded"}),
        ("size", {"name": 3, "num_parameters": [0, 1]}),
        ("size", {"name": "embedded", "num_parameters": [0, None]}),
        ("size", "embedded"),
        ("paths.runs", "\0"),
        ("data.cache", "\0"),
        ("evaluator.decoding.max_new_tokens", 0),
        ("evaluator.decoding.num_beam_groups", 5),
    ],
)
def test_a_value_of_another_form_is_told(key: str, value: object, capsys: pytest.CaptureFixture[str]) -> None:
    folder = edited(unfinished(finished()), lambda config: put(config, key, value))
    for words in (["resume", str(folder)], ["ask", str(folder), "Who?"]):
        capsys.readouterr()
        assert cmt(*words) == 2
        error = capsys.readouterr().err
        assert "config.yaml' cannot be read" in error or key.rpartition(".")[0] in error


def test_a_list_of_packages_that_is_missing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    folder = edited(unfinished(finished()), lambda config: config.pop("trusted_targets"))
    assert cmt("resume", str(folder)) == 2
    assert "trusted_targets" in capsys.readouterr().err
