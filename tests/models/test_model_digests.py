"""The files that decide what a model is are hashed, once, and again when one changes."""

from __future__ import annotations

import hashlib
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cmt_cli.data.files import content_hashes
from cmt_cli.models.model_digests import EMBEDDED, IN_MEMORY, digests_of, weights_digest


@pytest.fixture
def model(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(checkpoints["llama"], tmp_path / "model")


def config(model: Path, **method: Any) -> dict[str, Any]:
    return {"model": {"name_or_path": str(model), "revision": "main"}, "method": method}


def test_weights_tokenizer_and_configuration_are_hashed(model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("about")
    found = digests_of(config(model), tmp_path / "cache")
    assert found is not None and "README.md" not in found
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(found)
    assert found["config.json"] == hashlib.sha256((model / "config.json").read_bytes()).hexdigest()


def test_one_changed_byte_of_the_same_size_is_noticed(model: Path, tmp_path: Path) -> None:
    before = digests_of(config(model), tmp_path / "cache")
    content = bytearray((model / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (model / "model.safetensors").write_bytes(content)
    after = digests_of(config(model), tmp_path / "cache")
    assert before is not None and after is not None
    assert {name for name in before if before[name] != after[name]} == {"model.safetensors"}


def test_unchanged_files_are_not_read_again(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_hashes, "_SETTLED_SECONDS", 0)
    before = digests_of(config(model), tmp_path / "cache")
    monkeypatch.setattr(content_hashes, "sha256_of", None)
    assert digests_of(config(model), tmp_path / "cache") == before


def test_a_damaged_store_of_hashes_is_not_believed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_hashes, "_SETTLED_SECONDS", 0)
    before = digests_of(config(model), tmp_path / "cache")
    assert before is not None
    (index,) = (tmp_path / "cache" / "hashes").iterdir()
    digest = before["config.json"]
    index.write_text(index.read_text().replace(digest, digest[::-1]))
    assert digests_of(config(model), tmp_path / "cache") == before


def test_a_cache_that_cannot_be_written_only_costs_time(model: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert digests_of(config(model), tmp_path / "cache") == digests_of(config(model), tmp_path / "other")


def test_models_of_a_method_are_hashed_under_their_setting(model: Path, tmp_path: Path) -> None:
    found = digests_of(config(model, compressor={"name_or_path": str(model), "revision": None}), tmp_path / "cache")
    assert found is not None and found["method.compressor: config.json"] == found["config.json"]


def test_a_model_that_is_not_here_has_no_hashes(tmp_path: Path) -> None:
    assert digests_of(config(tmp_path / "absent"), tmp_path / "cache") is None
    assert digests_of({"model": {"_target_": "mine.load"}, "method": {}}, tmp_path / "cache") is None


def test_the_embedded_model_is_hashed(tmp_path: Path) -> None:
    found = digests_of({"model": {"embedded": True}, "method": {}}, tmp_path / "cache")
    weights = (EMBEDDED / "model.safetensors").read_bytes()
    assert found is not None and found["model.safetensors"] == hashlib.sha256(weights).hexdigest()


def test_slow_hashing_is_told(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    is_told = threading.Event()

    def note(text: str) -> None:
        told.append(text)
        is_told.set()

    monkeypatch.setattr(content_hashes, "_PATIENCE_SECONDS", 60)
    digests_of(config(model), tmp_path / "cache", note)
    assert told == []
    monkeypatch.setattr(content_hashes, "_PATIENCE_SECONDS", 0)
    monkeypatch.setattr(content_hashes, "sha256_of", lambda path: str(is_told.wait(10)))
    digests_of(config(model), tmp_path / "other", note)
    assert len(told) == 1 and str(model) in told[0]


def test_weights_in_memory_are_told_apart() -> None:
    model = nn.Linear(2, 1)
    before = weights_digest(model)
    assert before == weights_digest(model)
    with torch.no_grad():
        model.bias.add_(1)
    assert weights_digest(model)[IN_MEMORY] != before[IN_MEMORY]
