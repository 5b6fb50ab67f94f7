"""Processes of a run that are given other inputs refuse in one paragraph each, and none waits for another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.distributed.launched import outputs, start
from tests.models.checkpoints import save_checkpoint

SETTINGS = ("method=finetune", "data=labelled", "data.num_tasks=2", "trainer=smoke", "trainer.distributed=ddp")
MODEL = ("model=huggingface", "model.max_tokens=64", "model.device=cpu", "logger=none")


def rows(folder: Path, word: str) -> None:
    folder.mkdir()
    for name, number in (("train", 12), ("test", 6)):
        lines = [f"{word} {name} number {i}\tkind {i % 2}\n" for i in range(number)]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(lines))


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Give each process data and a model of its own, here the same: `0` and `1` are their ranks."""
    for rank in "01":
        rows(tmp_path / f"data{rank}", "some")
        save_checkpoint(tmp_path / f"model{rank}", "llama")
    return tmp_path


def other_data(places: Path) -> None:
    (places / "data1" / "train.tsv").write_text((places / "data1" / "train.tsv").read_text().replace("some", "other"))


def damaged_data(places: Path) -> None:
    (places / "data1" / "train.tsv").write_text("text\tlabel\none field\n")


def no_data(places: Path) -> None:
    (places / "data1").rename(places / "moved")


def other_model(places: Path) -> None:
    file = places / "model1" / "model.safetensors"
    tensors = {name: value + 0.01 for name, value in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def cut_model(places: Path) -> None:
    file = places / "model1" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_data, "have read different files as its data"),
        (damaged_data, "has 1 field where the header has 2"),
        (no_data, "does not exist or is empty"),
        (other_model, "have read different files as its model"),
        (cut_model, "is cut short or damaged"),
    ],
)
def test_other_inputs_end_every_process(change: Callable[[Path], None], words: str, places: Path) -> None:
    change(places)
    own = (f"data.path={places}/data${{oc.env:RANK}}", f"model.name_or_path={places}/model${{oc.env:RANK}}")
    command = ("-m", "cmt_cli", "run", *SETTINGS, *MODEL, *own, f"paths.runs={places}/runs")
    for code, text in outputs(start(command, extra={"CMT_CACHE": str(places / "cache")})):
        assert code == 2, text
        assert words in text and "ProcessLost" not in text
    assert not list(places.glob("runs/*/predictions/*"))
