"""`cmt export`: a folder appears whole or not at all, from a state that is kept, with a card made from the record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

import cmt_cli
from cmt_cli.core.exceptions import UserError
from cmt_cli.exporting import export as exporting
from cmt_cli.running.answering import AdaptedModel
from tests.command_line import SMALL, cmt
from tests.models.checkpoints import CHAT_TEMPLATE, TURN_TOKENS, save_checkpoint

pytestmark = pytest.mark.usefixtures("empty_folder")

OUT = Path("out")


def made(*overrides: str) -> Path:
    return cmt_cli.run(*SMALL, *overrides).folder


def listing(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_command_says_how_to_load(capsys: pytest.CaptureFixture[str]) -> None:
    run = made("method=lora")
    before = listing(run)
    assert cmt("export", str(run), str(OUT)) == 0
    said = capsys.readouterr().out
    assert "AutoPeftModelForCausalLM.from_pretrained('out')" in said and "model.adapter=out" in said
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md"} <= set(listing(OUT))
    assert listing(run) == before
    assert cmt("export", str(run), str(OUT / "merged"), "--format", "merged") == 0
    assert "model.name_or_path=out/merged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("cmt", "a memory of documents"),
        ("bm25", "texts that it keeps"),
        ("single_task", "the values of one task after the other"),
        ("moe", "parts that a LlamaForCausalLM of transformers does not have"),
    ],
)
def test_more_than_a_model_is_refused_with_the_reason(
    method: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(f"method={method}")
    assert cmt("export", str(run), str(OUT)) == 2
    message = capsys.readouterr().err
    assert reason in message and "cmt ask" in message
    assert not OUT.exists() and not list(Path().glob(".writing-*"))


def test_one_task_of_its_own_is_a_model() -> None:
    run = made("method=single_task", "data.num_tasks=1", "trainable@method.trainable=lora")
    assert cmt_cli.export(run, OUT) == OUT
    assert (OUT / "adapter_config.json").is_file()


def test_a_combination_is_what_its_first_member_trains() -> None:
    run = made("method=lora_l2")
    cmt_cli.export(run, OUT)
    assert (OUT / "adapter_config.json").is_file()


@pytest.mark.parametrize("form", ["peft", "merged"])
def test_a_form_that_cannot_hold_it_names_the_other(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = made("method=finetune" if form == "peft" else "method=prompt_tuning")
    assert cmt("export", str(run), str(OUT), "--format", form) == 2
    assert f"--format {'merged' if form == 'peft' else 'peft'}" in " ".join(capsys.readouterr().err.split())
    assert not OUT.exists()


def test_unknown_forms_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("export", str(made("method=lora")), str(OUT), "--format", "pefd") == 2
    assert "allowed: peft, merged. Did you mean 'peft'?" in capsys.readouterr().err


def test_what_lies_in_the_target_stays(capsys: pytest.CaptureFixture[str]) -> None:
    run = made("method=lora")
    OUT.mkdir()
    (OUT / "mine.txt").write_text("mine")
    file = Path("file")
    file.write_text("mine")
    Path("link").symlink_to(Path("elsewhere"))
    for target, reason in ((OUT, "not empty"), (file, "is a file"), (Path("link"), "or a link")):
        assert cmt("export", str(run), str(target)) == 2
        assert reason in capsys.readouterr().err
    assert listing(OUT).keys() == {"mine.txt"} and file.read_text() == "mine" and not Path("elsewhere").exists()


def test_an_empty_folder_is_filled() -> None:
    OUT.mkdir()
    cmt_cli.export(made("method=lora"), OUT)
    assert (OUT / "README.md").is_file()


def test_a_stop_in_the_middle_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> str:
        raise KeyboardInterrupt

    run = made("method=lora")
    monkeypatch.setattr(exporting, "model_card", stopped)
    with pytest.raises(KeyboardInterrupt):
        cmt_cli.export(run, OUT / "deep")
    assert list(OUT.iterdir()) == []


def test_an_earlier_task_is_exported_while_it_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    run = made("method=finetune", "data.num_tasks=3", "trainer.task.learning_rate=0.01")
    before = listing(run)
    for task in (2, 3):
        cmt_cli.export(run, OUT / str(task), task=task)
        facts = json.loads((OUT / str(task) / "cmt_export.json").read_text())
        assert (facts["num_tasks_learned"], facts["num_tasks"]) == (task, 3)
        assert f"After {task} tasks" in (OUT / str(task) / "README.md").read_text()
    second, third = (AutoModelForCausalLM.from_pretrained(OUT / str(task)).lm_head.weight for task in (2, 3))
    assert not torch.equal(second, third)
    assert listing(run) == before
    for gone in ("1", "4", "-1"):
        assert cmt("export", str(run), str(OUT / "other"), "--task", gone) == 2
        assert "is not kept" in (message := capsys.readouterr().err) and "those after 2 tasks and 3" in message


def test_an_earlier_state_leaves_the_methods_files_alone() -> None:
    run = made("method=cmt")
    before = listing(run / "memory")
    model = AdaptedModel.of(cmt_cli.load(run).job, run, task=1)
    assert model.task_index == 0 and before and listing(run / "memory") == before
    assert AdaptedModel.of(cmt_cli.load(run).job, run).task_index == 1


def test_an_earlier_number_of_adapters_is_exported() -> None:
    run = made("method=inc_lora")
    for task, rank in ((1, 8), (2, 16)):
        cmt_cli.export(run, OUT / str(task), task=task)
        assert json.loads((OUT / str(task) / "adapter_config.json").read_text())["r"] == rank


def test_the_card_is_made_from_the_record() -> None:
    run = made("method=lora")
    result = cmt_cli.load(run).result
    cmt_cli.export(run, OUT)
    _, front, text = (OUT / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["continual-learning", "cmt"],
    }
    assert "**GENERATED text, no real data**" in text and result.data["license"] in text
    assert result.model["sha256"]["model.safetensors"] in text and result.model["revision"] in text
    assert result.data["content_sha256"] in text and "rank: 8" in text
    assert f"torch {result.versions['torch']}" in text and f"aa {result.metrics['aa'].value:.4g}" in text
    assert str(Path.cwd()) not in text


def test_a_local_base_model_is_named_without_its_path(checkpoints: dict[str, Path]) -> None:
    base = ("model=huggingface", f"model.name_or_path={checkpoints['llama']}", "model.max_tokens=128")
    run = made("method=lora", "data.source=generated", *base)
    cmt_cli.export(run, OUT)
    assert json.loads((OUT / "cmt_export.json").read_text())["base"]["name"] == "llama"
    assert str(checkpoints["llama"]) not in (OUT / "README.md").read_text()
    config = json.loads((OUT / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (str(checkpoints["llama"].resolve()), None)


def test_hub_models_are_named_with_their_commit(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = Path("snapshots") / commit
    snapshot.parent.mkdir()
    snapshot.symlink_to(checkpoints["llama"])
    for module in ("model_files", "base_models"):
        monkeypatch.setattr(f"cmt_cli.models.{module}.config_folder", lambda *_: snapshot.absolute())
    base = ("model=huggingface", "model.name_or_path=owner/name", "model.max_tokens=128")
    cmt_cli.export(made("method=lora", "data.source=generated", *base), OUT)
    config = json.loads((OUT / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/name", commit)
    front = yaml.safe_load((OUT / "README.md").read_text().split("---\n")[1])
    assert (front["base_model"], front["base_model_relation"]) == ("owner/name", "adapter")


def test_the_chat_template_goes_with_the_model(tmp_path: Path) -> None:
    model = save_checkpoint(tmp_path / "model", "llama", chat_template=CHAT_TEMPLATE, turn_tokens=TURN_TOKENS)
    base = ("model=huggingface", f"model.name_or_path={model}", "model.max_tokens=128", "model.chat_template=auto")
    cmt_cli.export(made("method=lora", "data.source=generated", *base), OUT)
    assert AutoTokenizer.from_pretrained(OUT).chat_template == CHAT_TEMPLATE
    assert "'<|turn|>user\\n' + prompt + '<|end|>\\n<|turn|>assistant\\n'" in (OUT / "README.md").read_text()


def test_a_run_without_a_state_or_record_is_told() -> None:
    Path("empty").mkdir()
    with pytest.raises(UserError, match=r"holds no run: it has no result\.json"):
        cmt_cli.export("empty", OUT)


def test_a_place_in_the_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run = made("method=finetune")
    before = listing(run)
    Path("other").symlink_to(run)
    for place in (run / "out", Path("other") / "memory" / "out"):
        assert cmt("export", str(run), str(place)) == 2
        assert "lies in the run's own folder" in capsys.readouterr().err
    assert listing(run) == before


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = made("method=finetune")

    def refuse(*arguments: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("cmt_cli.exporting.merged.write_model", refuse)
    assert cmt("export", str(run), str(OUT)) == 2
    assert "'out' could not be read or written: there is no space left" in capsys.readouterr().err
    assert not OUT.exists()
