"""The hub: what is loaded is kept in plain files; without a network the error says what to do."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.hub import library as hub
from cmt_cli.data.hub.library import load_splits

REVISION = "0" * 40


def test_offline_error_names_the_data_set_and_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(path: str, name: str | None, revision: str) -> None:
        raise ConnectionError(f"Couldn't reach '{path}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"some/data at revision abc could not be loaded: HF_HUB_OFFLINE is set"):
        load_splits("some/data", "abc", lambda what, done, total: None)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(UserError, match=r"the hub cannot be reached .*data\.path"):
        load_splits("some/data", "abc", lambda what, done, total: None)


@pytest.fixture
def local_set(tmp_path: Path) -> Path:
    """A data set in a folder, which the library loads as it loads one of the hub."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\ngood,1\nbad,0\n", encoding="utf-8")
    (folder / "test.csv").write_text("text,label\nfine,1\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")


def test_a_data_set_is_loaded_and_kept_as_jsonl(
    local_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hub.stored(str(local_set), REVISION, None, tmp_path / "cache")
    assert sorted(file.name for file in folder.iterdir()) == ["test.jsonl", "train.jsonl"]
    assert (folder / "train.jsonl").read_text() == '{"text": "good", "label": 1}\n{"text": "bad", "label": 0}\n'
    monkeypatch.setattr(hub, "load_splits", None)  # nothing is loaded a second time
    assert hub.stored(str(local_set), REVISION, None, tmp_path / "cache") == folder


def test_an_unknown_subset_is_reported_with_the_known_ones(local_set: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"could not be loaded: .*'french'.*default"):
        hub.stored(str(local_set), REVISION, "french", tmp_path / "cache")
    assert not (tmp_path / "cache" / "hub").exists()


def test_labels_are_names_and_bytes_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"]), "raw": Value("binary")})
    made = Dataset.from_dict({"text": ["a", "b"], "label": [1, -1], "raw": [b"1", b"2"]}, features=features)
    given: list[str | None] = []

    def load_dataset(path: str, name: str | None, revision: str) -> DatasetDict:
        given.extend([path, name, revision])
        return DatasetDict(test=made)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    folder = hub.stored("org/set", REVISION, "small", tmp_path)
    assert given == ["org/set", "small", REVISION] and folder == tmp_path / "hub" / f"org--set-small-{'0' * 12}"
    assert (folder / "test.jsonl").read_text() == '{"text": "a", "label": "yes"}\n{"text": "b", "label": null}\n'
