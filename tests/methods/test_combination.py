"""A combination calls its members' hooks in order; with one member it is that member."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.parameter_values import swapped_in
from cmt_cli.core.stream import Task
from cmt_cli.layers import peft_lora
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full, Unchanged
from cmt_cli.memory.example_buffer import PerTask
from cmt_cli.methods.architecture.inc_lora import IncLora
from cmt_cli.methods.architecture.model_expansion import ModelExpansion
from cmt_cli.methods.architecture.olora import OLora
from cmt_cli.methods.architecture.slao import Slao
from cmt_cli.methods.combination import Combination
from cmt_cli.methods.controls.frozen import Frozen
from cmt_cli.methods.distillation.der import DER
from cmt_cli.methods.distillation.distillation import Distillation
from cmt_cli.methods.regularization.ewc import EWC
from cmt_cli.methods.regularization.l2 import L2
from cmt_cli.methods.regularization.mas import MAS
from cmt_cli.methods.replay.replay import Replay
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.running.restore import FinishedFit
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, logits, same, started
from tests.present import present

LORA = Lora(rank=2, alpha=8.0, targets="query_value", seed=0)


class Marked(FineTune):
    """Writes what is called, doubles or adds where a hook returns something."""

    needs_hidden_states = True

    def __init__(self, name: str, calls: list[str]) -> None:
        super().__init__(trainable=Unchanged())
        self.name, self.calls = name, calls

    def attach(self, folder: Path) -> None:
        self.folder = folder

    def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
        self.calls.append(f"mix {self.name}")
        return learner.collate([row for example in TASKS[1].train for row in learner.rows(example)])

    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, torch.Tensor]:
        return {self.name: torch.tensor(1.0)}

    def adjust_gradients(self, learner: Learner) -> None:
        self.calls.append(f"adjust {self.name}")

    def lr_scale(self, step: int, num_steps: int) -> float:
        return 0.5

    def state_dict(self) -> State:
        return {"calls": list(self.calls)}

    def load_state_dict(self, state: State) -> None:
        self.calls[:] = state["calls"]

    def storage_bytes(self) -> int:
        return 7


class Weighing(FineTune):
    """Triples every token's loss."""

    def token_weights(self, learner: Learner, batch: Batch, outputs: Outputs) -> torch.Tensor:
        return torch.full_like(outputs.token_nll, 3.0)


class OtherWay(Marked):
    """Learns in its own way and triples every token's loss as well."""

    def token_weights(self, learner: Learner, batch: Batch, outputs: Outputs) -> torch.Tensor:
        return torch.full_like(outputs.token_nll, 3.0)

    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        self.calls.append("own way")


def l2(weight: float) -> L2:
    return L2(trainable=Unchanged(), weight=weight, normalize="sum")


def composed(**members: Any) -> Combination:
    return Combination(methods=members, order=list(members))


def plain() -> FineTune:
    return FineTune(trainable=LORA)


def test_hooks_are_called_in_order_and_joined(tiny_llama: Learner, tmp_path: Path) -> None:
    calls: list[str] = []
    a, b, weighing = Marked("a", calls), OtherWay("b", calls), Weighing(trainable=Unchanged())
    members = {"b": b, "first": plain(), "a": a, "weighing": weighing}
    method = started(tiny_llama, Combination(methods=members, order=["first", "weighing", "a", "b"]))
    method.attach(tmp_path)
    assert (a.folder, b.folder) == (tmp_path / "a", tmp_path / "b") and b.folder.is_dir()
    batch = tiny_llama.collate([row for example in TASKS[0].train for row in tiny_llama.rows(example)])
    outputs = tiny_llama.forward(batch)
    assert method.mix_batch(tiny_llama, batch).ids == ("c", "d")
    method.adjust_gradients(tiny_llama)
    assert calls == ["mix a", "mix b", "adjust a", "adjust b"]
    assert present(method.token_weights(tiny_llama, batch, outputs)).unique().item() == 9.0
    assert {k: v.item() for k, v in method.penalties(tiny_llama, batch, outputs).items()} == {"a": 1.0, "b": 1.0}
    assert method.lr_scale(0, 1) == 0.25
    assert method.storage_bytes() == 14
    assert method.needs_hidden_states and not method.needs_documents
    method.learn(tiny_llama, TASKS[0], FinishedFit())
    assert calls[-1] == "own way"
    assert set(method.state_dict()) == {"a/calls", "b/calls"}
    method.load_state_dict({"a/calls": ["x"], "b/calls": ["x", "y"]})
    assert calls == ["x", "y"]  # the members share the list here; b comes last


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_members_that_are_off_leave_fine_tuning(make_learner: Callable[[str], Learner], family: str) -> None:
    learners = [make_learner(family), make_learner(family)]
    methods = [composed(lora=plain(), l2=l2(0.0)), plain()]
    for learner, method in zip(learners, methods, strict=True):
        started(learner, method)
        for task in TASKS:
            learn(learner, method, task)
    assert same(learners[0].state_dict(), learners[1].state_dict())


def test_composing_choice_and_penalty_equals_the_joint_method(make_learner: Callable[[str], Learner]) -> None:
    learners = [make_learner("llama"), make_learner("llama")]
    methods = [
        composed(lora=plain(), l2=l2(5.0)),
        L2(trainable=LORA, weight=5.0, normalize="sum"),
    ]
    for learner, method in zip(learners, methods, strict=True):
        started(learner, method)
        for task in TASKS:
            learn(learner, method, task)
    assert same(learners[0].state_dict(), learners[1].state_dict())
    assert methods[0].storage_bytes() == methods[1].storage_bytes() > 0


def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    def growing() -> Combination:
        return composed(olora=OLora(trainable=LORA, orthogonality=0.5, norm=0.0), off=FineTune(trainable=Unchanged()))

    def anchored() -> Combination:
        return composed(lora=plain(), l2=l2(1.0))

    assert_survives_a_kill(lambda: make_learner("gpt2"), growing)
    assert_survives_a_kill(lambda: make_learner("llama"), anchored)


def test_what_cannot_be_joined_is_refused(tiny_llama: Learner) -> None:
    off = FineTune(trainable=Unchanged())
    with pytest.raises(UserError, match="name each of them once"):
        Combination(methods={"a": plain()}, order=["a", "b"])
    with pytest.raises(UserError, match=r"trainable@method.methods.b.trainable=unchanged"):
        composed(a=plain(), b=FineTune(trainable=Full(num_frozen_blocks=0)))
    with pytest.raises(UserError, match="chosen by b, but the first member"):
        composed(a=off, b=plain())
    with pytest.raises(UserError, match="no member"):
        composed(a=off)
    with pytest.raises(UserError, match="Frozen is not fine-tuning with something added"):
        composed(a=plain(), b=Frozen())
    with pytest.raises(UserError, match="may change 'learn', but b and c do"):
        composed(a=plain(), b=OwnWay(trainable=Unchanged()), c=OtherWay("c", []))
    with pytest.raises(UserError, match="chosen by a and b"):
        composed(a=plain(), b=IncLora(trainable=LORA))
    batch = tiny_llama.collate([row for example in TASKS[0].train for row in tiny_llama.rows(example)])
    with pytest.raises(UserError, match=r"method\.methods\.a and b are both L2"):
        composed(
            first=plain(),
            a=l2(1.0),
            b=l2(2.0),
        )
    twice = composed(first=plain(), a=Marked("same", []), b=OtherWay("same", []))
    with pytest.raises(UserError, match=r"method\.methods\.b adds a penalty 'same'"):
        twice.penalties(tiny_llama, batch, tiny_llama.forward(batch))
    with pytest.raises(UserError, match="nothing to train"):
        learn(tiny_llama, started(tiny_llama, off), TASKS[0])


def test_values_by_name_are_refused_with_renamed_parameters() -> None:
    def expansion(expansion: str, grows: str) -> ModelExpansion:
        return ModelExpansion(expansion=expansion, num_new_blocks=1, num_new_units=4, grows=grows, seed=0)

    for keeps in (
        l2(1.0),
        Distillation(trainable=Unchanged(), weight=1.0, temperature=2.0),
    ):
        with pytest.raises(UserError, match="grown gives parameters other names from task to task, under which kept"):
            composed(grown=expansion("blocks", "each_task"), kept=keeps)
        assert composed(grown=expansion("blocks", "once"), kept=keeps)
        assert composed(grown=expansion("width", "each_task"), kept=keeps)


class OwnWay(FineTune):
    """Learns in its own way."""

    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        return


class Polite(FineTune):
    """Inherits every hook."""


class Proud(FineTune):
    """Answers in its own way."""

    def predictor(self, learner: Learner, task_index: int) -> Any:
        return self


def test_a_hooks_owner_may_stand_anywhere(tiny_llama: Learner) -> None:
    proud = Proud(trainable=Unchanged())
    method = composed(first=plain(), a=Polite(trainable=Unchanged()), b=proud)
    predictor: object = method.predictor(tiny_llama, 0)
    assert predictor is proud
    with pytest.raises(UserError, match="may change 'predictor', but a and b do"):
        composed(first=plain(), a=Proud(trainable=Unchanged()), b=proud)


ANCHORED: dict[str, Callable[[], Method]] = {
    "l2": lambda: l2(1.0),
    "mas": lambda: MAS(trainable=Unchanged(), weight=1.0, normalize="sum", num_samples=4, seed=0),
    "ewc": lambda: EWC(
        trainable=Unchanged(),
        weight=1.0,
        normalize="sum",
        accumulation="per_task",
        gamma=1.0,
        labels="empirical",
        num_samples=4,
        seed=0,
    ),
}


@pytest.mark.parametrize("name", list(ANCHORED))
def test_anchoring_parameters_frozen_later_is_refused_before_training(tiny_llama: Learner, name: str) -> None:
    method = composed(olora=OLora(trainable=LORA, orthogonality=0.5, norm=0.0), **{name: ANCHORED[name]()})
    with pytest.raises(UserError, match="nothing is trainable before the first task"):
        started(tiny_llama, method)


class Exchanging(FineTune):
    """Trains one half of the adapter's matrices in one task and the other half in the next."""

    def before_task(self, learner: Learner, task: Task) -> None:
        super().before_task(learner, task)
        for i, parameter in enumerate(peft_lora.parameters(peft_lora.adapter(learner, 0))):
            parameter.requires_grad_(i % 2 == task.index % 2)


@pytest.mark.parametrize("name", list(ANCHORED))
def test_anchoring_parameters_without_earlier_values_is_refused(tiny_llama: Learner, name: str) -> None:
    method = started(tiny_llama, composed(first=Exchanging(trainable=LORA), **{name: ANCHORED[name]()}))
    learn(tiny_llama, method, TASKS[0])
    with pytest.raises(UserError, match="none of those trained in task 'south' was trained before"):
        method.before_task(tiny_llama, TASKS[1])


@pytest.mark.parametrize("growing", [True, False])
def test_the_teacher_is_what_answered_after_the_task_before(tiny_llama: Learner, growing: bool) -> None:
    """O-LoRA adds an adapter before the task and SLAO changes its own; the teacher is the model before either."""
    first = OLora(trainable=LORA, orthogonality=0.0, norm=0.0) if growing else Slao(trainable=LORA)
    teaching = Distillation(trainable=Unchanged(), weight=1.0, temperature=1.0)
    method = started(tiny_llama, composed(first=first, distillation=teaching))
    learn(tiny_llama, method, TASKS[0])
    answered = logits(tiny_llama)
    method.before_task(tiny_llama, TASKS[1])
    assert torch.equal(logits(tiny_llama), answered) == growing
    with torch.no_grad():
        for parameter in tiny_llama.trainable():
            parameter.add_(0.1)  # stands for learning
    assert not torch.equal(logits(tiny_llama), answered)
    with swapped_in(tiny_llama, teaching.teacher):
        assert torch.equal(logits(tiny_llama), answered)
    assert teaching.storage_bytes() == sum(4 * parameter.numel() for parameter in tiny_llama.trainable())


def test_who_weighs_the_mixed_batch_mixes_last(tiny_llama: Learner) -> None:
    def stored() -> DER:
        return DER(
            trainable=Unchanged(),
            buffer=PerTask(examples_per_task=2, seed=0),
            alpha=0.5,
            beta=0.5,
            distance="mse",
            top_k=4,
            old_rows_per_row=1.0,
            seed=0,
        )

    def old() -> Replay:
        return Replay(
            trainable=Unchanged(),
            buffer=PerTask(examples_per_task=2, seed=0),
            ratio=0.5,
            budget="additive",
            repeats_new_task=False,
            seed=0,
        )

    with pytest.raises(UserError, match=r"\['first', 'der', 'replay'\] put der last"):
        composed(first=plain(), der=stored(), replay=old())
    method = started(tiny_llama, composed(first=plain(), replay=old(), der=stored()))
    learn(tiny_llama, method, TASKS[0])
    method.before_task(tiny_llama, TASKS[1])
    batch = tiny_llama.collate([row for example in TASKS[1].train for row in tiny_llama.rows(example)])
    mixed = method.mix_batch(tiny_llama, batch)
    outputs = tiny_llama.forward(mixed)
    weights = present(method.token_weights(tiny_llama, mixed, outputs))
    labelled = mixed.labels != -100
    is_stored = torch.tensor([name.startswith("stored/") for name in mixed.ids])
    assert (len(mixed.ids), int(mixed.replayed.sum()), int(is_stored.sum())) == (8, 6, 4)
    mean_of_others = outputs.token_nll[~is_stored].sum() / labelled[~is_stored][:, 1:].sum()
    mean_of_stored = outputs.token_nll[is_stored].sum() / labelled[is_stored][:, 1:].sum()
    found = (outputs.token_nll * weights).sum() / labelled[:, 1:].sum()
    torch.testing.assert_close(found, mean_of_others + 0.5 * mean_of_stored)
