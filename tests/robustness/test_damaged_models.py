"""A model folder that was cut short or damaged is named in one error; its weights are never random."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cmt_cli.core.exceptions import UserError
from tests.conftest import load_cpu


def changed(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))


@pytest.fixture
def folder(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(checkpoints["llama"], tmp_path / "model")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_a_file_that_was_cut_short_is_named(folder: Path, name: str, share: float) -> None:
    changed(folder, name, lambda content: content[: int(share * len(content))])
    with pytest.raises(UserError, match=f"{name}' is"):
        load_cpu(folder)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("config.json", {"vocab_size": "many"}),
        ("config.json", {"num_attention_heads": 3}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"hidden_act": "nothing"}),
        ("config.json", {"hidden_size": 48}),
        ("config.json", {"model_type": "unknown"}),
        ("tokenizer.json", {"model": None}),
        ("tokenizer.json", {"version": 9}),
        ("tokenizer.json", {"added_tokens": 3}),
    ],
)
def test_values_that_no_model_can_have_are_told(folder: Path, name: str, values: dict[str, object]) -> None:
    changed(folder, name, lambda content: json.dumps({**json.loads(content), **values}).encode())
    with pytest.raises(UserError, match=str(folder)):
        load_cpu(folder)


def test_weights_that_are_missing_are_not_made_up(folder: Path) -> None:
    changed(folder, "config.json", lambda content: json.dumps({**json.loads(content), "num_hidden_layers": 9}).encode())
    with pytest.raises(UserError, match="which would be random"):
        load_cpu(folder)


def test_a_damaged_list_of_weight_files_is_told(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    with pytest.raises(UserError, match="is no list of weight files"):
        load_cpu(folder)
