"""The campaign of `make test-robustness` with small numbers; the page docs/robustness.md says what it tries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.robustness.campaign import Numbers, parts


@pytest.mark.slow
def test_nothing_is_harmed(tmp_path: Path) -> None:
    found = {part.name: part for part in parts(tmp_path, Numbers(kills=20, mutations=200, faults=2, seed=1))}
    assert {part.name: part.notes for part in found.values() if part.harmed} == {}
    assert all(part.tried >= 2 for part in found.values())
