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
