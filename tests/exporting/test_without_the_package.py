"""What was exported gives the run's logits and answers in a process that cannot import this package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import cmt_cli
from cmt_cli.core.batch import Row
from tests.command_line import SMALL
from tests.models.checkpoints import POSITIONS

PROGRAM = Path(__file__).with_name("without_cmt.py")
BLOCKED = "import runpy, sys; sys.modules['cmt_cli'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
QUESTION = "Where is Lisbon?"  # of the model cards
IDS = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(1))
LORA = ("method=lora", "trainer.task.learning_rate=0.05")
CASES = {
    "lora": (LORA, "peft"),
    "lora_merged": (LORA, "merged"),
    "full": (("method=finetune", "trainer.task.learning_rate=0.01"), "merged"),
    "several_adapters": (("method=inc_lora", "trainer.task.learning_rate=0.05"), "peft"),
    "prompt": (("method=prompt_tuning", "trainer.task.learning_rate=0.3"), "peft"),
    "several_prompts": (("method=progressive_prompts", "trainer.task.learning_rate=0.3"), "peft"),
    "prefix": (("method=prefix_tuning", "trainer.task.learning_rate=0.05"), "peft"),
}


@dataclass(frozen=True)
class Compared:
    """What the run's model and the exported one say: logits `[rows, tokens - 1, vocab]`, and the card's answer."""

    logits: Tensor
    base_logits: Tensor
    answer: str
    exported_logits: Tensor
    exported_answer: str


@pytest.fixture(scope="module", params=["tiny", "huggingface"])
def compared(
    request: pytest.FixtureRequest, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Compared]:
    root = tmp_path_factory.mktemp(request.param)
    model: tuple[str, ...] = ("model=tiny",)
    if request.param == "huggingface":
        model = ("model=huggingface", f"model.name_or_path={checkpoints['llama']}", f"model.max_tokens={POSITIONS}")
    settings = (
        *SMALL,
        *model,
        "data.source=generated",
        "model.dtype=fp32",
        f"paths.runs={root / 'runs'}",
        f"paths.cache={root / 'cache'}",
    )
    own: dict[str, tuple[Tensor, Tensor, str]] = {}
    for name, (overrides, form) in CASES.items():
        run = cmt_cli.run(*settings, "evaluator.decoding.max_new_tokens=8", *overrides)
        cmt_cli.export(run.folder, root / name, form=form)
        base = run.job.build("model")
        own[name] = logits_of(run.model.learner), logits_of(base), run.ask(QUESTION).text
    save_file({"ids": IDS}, root / "given.safetensors")
    folders = json.dumps([[str(root / name), form] for name, (_, form) in CASES.items()])
    subprocess.run(
        [sys.executable, "-I", "-c", BLOCKED, str(PROGRAM), folders, str(root / "given.safetensors")],
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    logits = load_file(root / "logits.safetensors")
    answers = json.loads((root / "answers.json").read_text())
    return {name: Compared(*own[name], logits[str(root / name)][:, :-1], answers[str(root / name)]) for name in CASES}


def logits_of(learner: Any) -> Tensor:
    """Return `[rows, tokens - 1, vocab]`: what is said behind each token but the last."""
    rows = [Row(str(i), tuple(ids), 1) for i, ids in enumerate(IDS.tolist())]
    with torch.no_grad():
        found: Tensor = learner.forward(learner.collate(rows)).logits
    return found


@pytest.mark.parametrize("case", CASES)
def test_logits_are_the_runs(compared: dict[str, Compared], case: str) -> None:
    found = compared[case]
    torch.testing.assert_close(found.exported_logits, found.logits, rtol=1e-4, atol=1e-4)
    assert (found.logits - found.base_logits).abs().max() > 0.01  # something was learned


@pytest.mark.parametrize("case", CASES)
def test_the_cards_program_gives_the_runs_answer(compared: dict[str, Compared], case: str) -> None:
    assert compared[case].exported_answer == compared[case].answer != ""
