"""A fit that is stopped, written to disk and continued by new objects in a new process is the same fit, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cmt_cli.core.exceptions import Interrupted
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.stream import Document, Episode, Episodes, Example, Task
from cmt_cli.methods.amortized.camels import Camels
from cmt_cli.running.checkpoint import Slot
from tests.conftest import load_cpu
from tests.training.sessions import MemorySession, budget, trainer

CITIES = ["Lagos", "London", "Turin", "Porto", "Accra", "Oslo"]
DOCUMENTS = [Document(city, f"Resident {i} moved to {city} in {1980 + i}.") for i, city in enumerate(CITIES)]
TASK = Task("t", 0, [document.as_example() for document in DOCUMENTS], documents=DOCUMENTS)
EPISODES = Episodes(
    train=[Episode((d,), (Example(f"{d.id}?", "Question: Where?\nAnswer:", f" {d.id}"),)) for d in DOCUMENTS]
)


def camels() -> Camels:
    return Camels(
        budget=budget(num_steps=6, batch_size=1, shuffle=False, learning_rate=1e-3),
        meta_budget=budget(num_steps=6, batch_size=2, learning_rate=1e-2),
        rank=2,
        alpha=4.0,
        targets="all",
        head_width=8,
        inner_learning_rate=0.1,
        num_inner_documents=2,
        max_inner_tokens=64,
        locality_weight=0.1,
        seed=0,
    )


class Disk(MemorySession):
    """Keeps the state in a folder, as a run does."""

    def __init__(self, folder: Path, stop_after: int | None = None) -> None:
        super().__init__(stop_after=stop_after)
        self.slot = Slot(folder)

    def load(self) -> dict[str, object] | None:
        checkpoint = self.slot.load()
        return checkpoint.state if checkpoint else None

    def save(self, state: dict[str, object]) -> None:
        self.slot.save(state, tag="fit")


def meta_train(learner: Learner, session: MemorySession) -> dict[str, Tensor]:
    method = camels()
    method.before_stream(learner, EPISODES, trainer().bind(learner, method, session))
    return method.state_dict()


def fine_tune(learner: Learner, session: MemorySession) -> dict[str, Tensor]:
    method = Method()
    method.before_stream(learner, Episodes(), trainer().bind(learner, method, MemorySession()))
    made = trainer(task=budget(num_steps=6, batch_size=4, schedule="cosine", learning_rate=1e-2), micro_batch_size=3)
    made.bind(learner, method, session).on_examples(TASK.train)
    return learner.state_dict()


@pytest.mark.parametrize("stop_after", [1, 4])
@pytest.mark.parametrize("fit", [meta_train, fine_tune])
def test_continuing_with_new_objects_is_bit_identical(
    make_learner: Callable[[str], Learner],
    fit: Callable[[Learner, MemorySession], dict[str, Tensor]],
    stop_after: int,
    tmp_path: Path,
) -> None:
    expected = fit(make_learner("llama"), MemorySession())
    with pytest.raises(Interrupted):
        fit(make_learner("llama"), Disk(tmp_path, stop_after))
    torch.manual_seed(99)
    resumed = fit(make_learner("llama"), Disk(tmp_path))
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())


def test_continuing_in_another_process_is_bit_identical(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    expected = fine_tune(load_cpu(checkpoints["gpt2"]), MemorySession())
    with pytest.raises(Interrupted):
        fine_tune(load_cpu(checkpoints["gpt2"]), Disk(tmp_path / "fit", 2))
    program = (
        "import sys, torch; from pathlib import Path; from safetensors.torch import save_file\n"
        "from tests.training.test_resume import *\n"
        "torch.set_num_threads(1)\n"
        "state = fine_tune(load_cpu(Path(sys.argv[1])), Disk(Path(sys.argv[2])))\n"
        "save_file(state, sys.argv[3])\n"
    )
    arguments = [str(checkpoints["gpt2"]), str(tmp_path / "fit"), str(tmp_path / "end.safetensors")]
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, cwd=root, capture_output=True)
    from safetensors.torch import load_file

    resumed = load_file(tmp_path / "end.safetensors")
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())
