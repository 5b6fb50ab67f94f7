"""The hub: without a network the error says what to do."""

from __future__ import annotations

import datasets
import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.hub import load_splits


def test_offline_the_error_names_the_data_set_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, revision: str) -> None:
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"some/data at revision abc could not be loaded: HF_HUB_OFFLINE is set"):
        load_splits("some/data", "abc", lambda what, done, total: None)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(UserError, match=r"the hub cannot be reached .*data\.path"):
        load_splits("some/data", "abc", lambda what, done, total: None)
