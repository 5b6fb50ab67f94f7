"""Fixtures of the data tests: the folder of real files, and a small world to write stand-ins from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmt_cli.data.world.stand_in import StandIn


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data files: $CMT_TEST_DATA, or `shared/data` beside the repository."""
    folder = Path(os.environ.get("CMT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / "qa_streams").is_dir():
        pytest.skip(f"no real data files at {folder}; set CMT_TEST_DATA")
    return folder / "qa_streams"


@pytest.fixture
def small_world() -> StandIn:
    return StandIn(
        num_train_documents=12,
        num_validation_documents=4,
        num_test_documents=9,
        max_test_questions_per_document=2,
        facts_per_document=3,
        changing_facts=False,
        seed=0,
    )
