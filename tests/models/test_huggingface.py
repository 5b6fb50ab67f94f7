"""Any causal language model loads from a folder or the hub cache; everything else is one readable error, at once."""

import json
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Prompt
from cmt_cli.models import huggingface, model_files
from tests.models.checkpoints import load_checkpoint as load
from tests.models.shapes import random_learner, shaped_config

CONFIGS = Path(__file__).parents[2] / "conf" / "model"
GREEDY = Decoding(max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)


@pytest.fixture
def hub_cache(tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """A hub cache that holds 'someone/tiny' at one commit; return the commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(checkpoints["gpt2"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return commit


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "qwen3"])
def test_every_family_loads_from_a_folder_and_answers(checkpoints: dict[str, Path], family: str) -> None:
    learner = load(checkpoints[family])
    assert learner.revision == "local"
    assert learner.trainable() == []
    assert len(learner.generate([Prompt("p", "Where?")], GREEDY)) == 1


@pytest.mark.parametrize(
    ("dtype", "expected"), [("auto", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_weights_have_the_dtype_asked_for(checkpoints: dict[str, Path], dtype: str, expected: torch.dtype) -> None:
    assert load(checkpoints["llama"], dtype=dtype).model.dtype == expected


def test_eager_attention_gives_the_same_answers_scores(checkpoints: dict[str, Path]) -> None:
    prompts, targets = [Prompt("a", "Where?"), Prompt("b", "When was it opened?")], [" Turin", " 2019"]
    fused = load(checkpoints["llama"]).loglikelihood(prompts, targets)
    eager = load(checkpoints["llama"], attention="eager").loglikelihood(prompts, targets)
    assert eager == pytest.approx(fused, abs=1e-4)


@pytest.mark.parametrize("revision", ["main", "0123456789abcdef0123456789abcdef01234567"])
def test_a_cached_model_loads_offline_with_its_commit(hub_cache: str, revision: str) -> None:
    learner = load("someone/tiny", revision=revision)
    assert learner.name == "someone/tiny"
    assert learner.revision == hub_cache


def test_a_cache_without_the_weights_counts_as_absent(hub_cache: str, tmp_path: Path) -> None:
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set.*hf download someone/tiny"):
        load("someone/tiny")


def refused(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def connect(address: object, timeout: float) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_without_a_network_the_error_is_immediate(hub_cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(monkeypatch, ConnectionRefusedError())
    started = time.monotonic()
    with pytest.raises(UserError, match=r"did not answer.*hf download someone/other.*model=tiny"):
        load("someone/other")
    assert time.monotonic() - started < 2


def test_connectivity_tells_a_listening_hub_from_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        assert model_files.hub_reachable()
    assert not model_files.hub_reachable()
    monkeypatch.setattr(model_files, "CONNECT_SECONDS", 0.1)
    # a name server that does not answer
    monkeypatch.setattr(
        model_files, "_connect", lambda address, opened: time.sleep(1)
    )  # a name server that does not answer
    started = time.monotonic()
    assert not model_files.hub_reachable()
    assert time.monotonic() - started < 0.9


def test_gated_missing_and_unknown_models_are_told_apart(hub_cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    response = httpx.Response(403, request=httpx.Request("GET", "https://example.org"))
    cases = {
        GatedRepoError: "gated: accept its license",
        RepositoryNotFoundError: "no public model",
        RevisionNotFoundError: "no revision 'main'",
    }
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(model_files, "hub_reachable", lambda: True)
    for error, message in cases.items():

        def download(*_: object, error: Any = error, **__: object) -> str:
            raise error("refused", response=response)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        with pytest.raises(UserError, match=message):
            load("someone/other")


@pytest.mark.parametrize("name", ["./no/such/folder", "~/no_such_folder", "a/b/c", "not a name!"])
def test_a_name_that_is_no_model_is_refused(hub_cache: str, name: str) -> None:
    with pytest.raises(UserError, match=r"folder|hub cache"):
        load(name)


def test_a_folder_lacking_files_says_which(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(checkpoints["gpt2"], tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        load(tmp_path / "model")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert model_files.missing_files(tmp_path / "model") == ["model-1.safetensors", "model-2.safetensors"]
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "model.dtype='float16' is not known; allowed:"),
        ({"attention": "sdp"}, "Did you mean 'sdpa'"),
        ({"device": "gpu"}, "model.device='gpu' is not known; allowed:"),
        ({"quantization": "int4"}, "model.quantization='int4' is not known; allowed: nf4"),
        ({"quantization": "nf4"}, "needs a CUDA device"),
        ({"max_tokens": 4096}, "has 128 positions"),
    ],
)
def test_impossible_settings_are_refused_before_weights_are_read(
    checkpoints: dict[str, Path], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(checkpoints["gpt2"], **changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_absent_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="sees no CUDA device"):
        load(checkpoints["gpt2"], device="cuda")


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "qwen3"])
def test_the_memory_estimate_equals_the_loaded_weights(checkpoints: dict[str, Path], family: str) -> None:
    model = load(checkpoints[family]).model
    num_parameters = sum(parameter.numel() for parameter in model.parameters())  # tied weights once
    assert huggingface.estimate_bytes(str(checkpoints[family]), "fp32", None) == 4 * num_parameters
    assert huggingface.estimate_bytes(str(checkpoints[family]), "bf16", None) == 2 * num_parameters


def test_the_4bit_estimate_keeps_embeddings_in_half_precision(
    checkpoints: dict[str, Path],
) -> None:
    # Llama: 2 layers of q 32x32, k and v 16x32, o 32x32, three MLP matrices 64x32
    packed = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
    rest = 2 * 384 * 32 + 5 * 32
    estimate = huggingface.estimate_bytes(str(checkpoints["llama"]), "bf16", "nf4")
    assert estimate == pytest.approx(packed * 0.516 + rest * 2, rel=1e-3)


def test_the_memory_estimate_reads_the_configuration_alone(
    hub_cache: str, tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    expected = huggingface.estimate_bytes(str(checkpoints["gpt2"]), "fp32", None)
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    assert huggingface.estimate_bytes("someone/tiny", "fp32", None) == expected
    assert huggingface.estimate_bytes("someone/absent", "fp32", None) is None


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_model_configurations_name_every_argument_and_a_license(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    config.pop("defaults", None)  # its size
    module, function = config.pop("_target_").rsplit(".", 1)
    assert function == "load"
    if module.endswith("huggingface"):
        arguments = set(huggingface.load.__annotations__) - {"return"}
        assert set(config) == arguments
        assert "License" in text
    if path.stem not in ("tiny", "huggingface"):
        assert len(config["revision"]) == 40  # pinned to a commit


def test_tokens_without_an_embedding_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints["llama"], tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<extra>", "<more>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=r"2 tokens \(<extra>, <more>\) beyond .*model\.name_or_path"):
        load(folder)


@pytest.mark.parametrize(("kind", "attention"), [("mpt", "sdpa"), ("mpt", "flash_attention_2")])
def test_attention_that_a_model_lacks_is_refused_before_loading(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, attention: str
) -> None:
    folder = shutil.copytree(checkpoints["gpt2"], tmp_path / "model")
    shaped_config(kind).save_pretrained(folder)
    monkeypatch.delattr(AutoModelForCausalLM, "from_pretrained")
    with pytest.raises(UserError, match=f"type '{kind}', cannot have model.attention={attention} here .*eager"):
        load(folder, attention=attention)


def test_eager_attention_loads_a_model_without_another(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints["gpt2"], tmp_path / "model")
    learner = random_learner(shaped_config("mpt"))
    learner.model.save_pretrained(folder)
    assert len(load(folder, attention="eager").generate([Prompt("p", "Where?")], GREEDY)) == 1
