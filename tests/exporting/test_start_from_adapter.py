"""A run that starts from an exported adapter: the model that it was, and a run of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import cmt_cli
from cmt_cli.core.exceptions import UserError
from cmt_cli.models.adapters import WEIGHTS
from cmt_cli.running.identity import config_hash
from cmt_cli.running.loaded_run import Run
from tests.command_line import SMALL, cmt, job
from tests.exporting.test_without_the_package import logits_of

pytestmark = pytest.mark.usefixtures("empty_folder")

ADAPTER = Path("adapter")
START = f"model.adapter={ADAPTER}"


@pytest.fixture
def first(empty_folder: Path) -> Run:
    run = cmt_cli.run(*SMALL, "method=lora", "trainer.task.learning_rate=0.05")
    cmt_cli.export(run.folder, ADAPTER)
    return run


def test_it_starts_where_the_first_run_ended(first: Run) -> None:
    run = cmt_cli.run(*SMALL, "method=frozen", START)
    torch.testing.assert_close(logits_of(run.model.learner), logits_of(first.model.learner), rtol=1e-4, atol=1e-4)
    assert run.scores[0] == first.scores[-1]
    model = run.result.model
    assert "with the adapter" in model["revision"] and f"model.adapter: {WEIGHTS}" in model["sha256"]
    assert "adapter" not in first.result.model["revision"]


def test_what_it_learned_on_top_is_exported_merged(first: Run) -> None:
    run = cmt_cli.run(*SMALL, "method=lora", START)
    cmt_cli.export(run.folder, "out")
    assert Path("out/model.safetensors").is_file()
    with pytest.raises(UserError, match=r"began with an adapter.*--format merged"):
        cmt_cli.export(run.folder, "peft", form="peft")
    again = cmt_cli.run(*SMALL, "method=frozen", "model=huggingface", "model.name_or_path=out", "data.source=generated")
    torch.testing.assert_close(logits_of(again.model.learner), logits_of(run.model.learner), rtol=1e-4, atol=1e-4)


def test_a_changed_adapter_is_another_run(first: Run) -> None:
    run = cmt_cli.run(*SMALL, "method=finetune", START)
    content = bytearray((ADAPTER / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (ADAPTER / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=r"begun with other inputs.*model\.adapter: adapter_model\.safetensors changed"):
        cmt_cli.run(*SMALL, "method=finetune", START)
    with pytest.raises(UserError, match="begun with other inputs"):
        cmt_cli.load(run.folder).ask("Who?")


def test_the_tokenizer_in_the_folder_is_not_a_part(first: Run) -> None:
    run = cmt_cli.run(*SMALL, "method=frozen", START)
    (ADAPTER / "tokenizer.json").unlink()
    assert cmt_cli.run(*SMALL, "method=frozen", START).folder == run.folder


def test_another_base_model_is_refused_before_the_run(
    first: Run,
    checkpoints: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = ("model=huggingface", f"model.name_or_path={checkpoints['llama']}", "model.max_tokens=128")
    assert cmt("run", *SMALL, "method=finetune", *other, "data.source=generated", START) == 2
    assert "was trained beside other weights" in capsys.readouterr().err
    (ADAPTER / "cmt_export.json").unlink()
    assert cmt("run", *SMALL, "method=finetune", *other, "data.source=generated", START) == 2
    assert "belongs to another base model" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
def test_virtual_tokens_are_no_start(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = cmt_cli.run(*SMALL, f"method={method}")
    cmt_cli.export(run.folder, ADAPTER)
    assert cmt("run", *SMALL, "method=finetune", START) == 2
    assert "only those of type LORA" in capsys.readouterr().err


def test_a_folder_without_adapter_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", *SMALL, "method=finetune", "model.adapter=nowhere") == 2
    assert "no folder of a peft adapter" in capsys.readouterr().err
    assert not list(Path("runs").glob("*/result.json"))


def test_no_adapter_leaves_the_hash_of_older_runs() -> None:
    config = dict(job(*SMALL, "method=lora").config)
    older = {**config, "model": {key: value for key, value in config["model"].items() if key != "adapter"}}
    assert "adapter" in config["model"] and config_hash(config) == config_hash(older)
    started = {**config, "model": {**config["model"], "adapter": "adapter"}}
    assert config_hash(started) != config_hash(config)


def test_a_run_with_an_adapter_is_resumed_and_asked(first: Run) -> None:
    run = cmt_cli.run(*SMALL, "method=finetune", START)
    shutil.rmtree(run.folder / "predictions")
    assert cmt("resume", str(run.folder)) == 0
    assert cmt("ask", str(run.folder), "Who?") == 0
    assert json.loads((run.folder / "result.json").read_text())["status"] == "complete"
