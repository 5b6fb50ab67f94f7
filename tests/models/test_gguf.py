"""A GGUF file is a model like any other, and its record says that its numbers were rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cmt_cli.core.exceptions import UserError
from cmt_cli.models.gguf import load_gguf, read_header
from cmt_cli.models.model_digests import digests_of
from tests.models.checkpoints import load_checkpoint as load
from tests.models.gguf_files import write_gguf

TEXT = "Question: Where does Ada Lovelace work?\nAnswer:"


@pytest.fixture(scope="module")
def file(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(checkpoints["llama"], tmp_path_factory.mktemp("gguf") / "llama.gguf")


@torch.no_grad()
def test_unrounded_weights_give_the_checkpoints_logits(file: Path, checkpoints: dict[str, Path]) -> None:
    model, tokenizer = load_gguf(file, read_header(file), torch.float32)
    original = AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
    ids = AutoTokenizer.from_pretrained(checkpoints["llama"])(TEXT, return_tensors="pt", add_special_tokens=False)
    read = tokenizer(TEXT, return_tensors="pt", add_special_tokens=False)
    assert read["input_ids"].tolist() == ids["input_ids"].tolist()
    torch.testing.assert_close(model(ids["input_ids"]).logits, original(ids["input_ids"]).logits)


def test_the_record_says_that_weights_were_rounded(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    rounded = write_gguf(checkpoints["llama"], tmp_path / "rounded.gguf", quantization="Q8_0")
    learner = load(rounded)
    assert (learner.name, learner.revision) == ("rounded.gguf", "GGUF Q8_0, de-quantized")
    weights = torch.cat([parameter.flatten() for parameter in learner.model.parameters()])
    exact = torch.cat([p.flatten() for p in AutoModelForCausalLM.from_pretrained(checkpoints["llama"]).parameters()])
    assert 0 < (weights - exact).abs().max() <= exact.abs().max() / 127  # half a step of the largest block at most


def test_an_unrounded_file_says_so(file: Path) -> None:
    assert load(file).revision == "GGUF F32"
    assert read_header(file).num_parameters == 384 * 32 * 2 + 2 * (32 * 32 * 3 + 32 * 64 * 3 + 2 * 32) + 32


def test_the_files_own_digest_is_recorded(file: Path, tmp_path: Path) -> None:
    found = digests_of({"model": {"name_or_path": str(file), "revision": "main"}}, tmp_path)
    assert found is not None and list(found) == ["llama.gguf"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "it is cut or damaged"),
        (lambda whole: whole[:3000], "it is cut or damaged"),
        (lambda whole: b"<html>" + whole, "does not begin with the letters GGUF"),
    ],
    ids=["half", "begin", "page"],
)
def test_damaged_files_are_told(file: Path, tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "damaged.gguf").write_bytes(content(file.read_bytes()))
    with pytest.raises(UserError, match=message):
        load(tmp_path / "damaged.gguf")


def test_an_unknown_architecture_is_told(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    unknown = write_gguf(checkpoints["llama"], tmp_path / "unknown.gguf", architecture="unheard")
    with pytest.raises(UserError, match="architecture 'unheard', which this transformers version cannot read"):
        load(unknown)


def test_weights_that_the_file_lacks_are_told(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    biased = write_gguf(checkpoints["llama"], tmp_path / "biased.gguf", architecture="qwen2")  # which has biases
    with pytest.raises(UserError, match=r"lacks 6 weights of a 'qwen2' .*k_proj\.bias.*would be random"):
        load(biased)


def test_settings_unfit_for_a_file_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="rounded twice"):
        load(file, quantization="nf4")
    with pytest.raises(UserError, match="has 128 positions"):
        load(file, max_tokens=4096)
    with pytest.raises(UserError, match="does not exist"):
        load(file.with_name("absent.gguf"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'cmt-cli\[gguf\]'"):
        load(file)
