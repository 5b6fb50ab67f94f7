"""Meta-learned token weights: the formula, the inner update, and that the outer gradient passes through the updates."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmt_cli.core.batch import Row
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Document, Episode, Episodes, Example, Task
from cmt_cli.methods.amortized.camels import Camels, WeightModel, token_weights
from cmt_cli.methods.amortized.camels_objective import CamelsObjective, functional_forward, sgd_step, windows
from tests.training.sessions import MemorySession, budget, trainer

FACTS = [("Mara", "Lagos"), ("Ada", "London"), ("Bo", "Turin"), ("Ines", "Porto"), ("Olu", "Accra")]
EPISODES = Episodes(
    train=[
        Episode(
            (Document(name, f"{name} moved to {city} in 1987 and works there."),),
            (Example(f"{name}/city", f"Question: Where does {name} work?\nAnswer:", f" {city}", document_ids=(name,)),),
        )
        for name, city in FACTS
    ]
)


def make(**changes: Any) -> Camels:
    values: dict[str, Any] = {
        "budget": budget(num_epochs=1, num_steps=None, batch_size=1, shuffle=False, learning_rate=1e-3),
        "meta_budget": budget(num_steps=3, batch_size=2, learning_rate=1e-2),
        "rank": 2,
        "alpha": 4.0,
        "targets": "all",
        "head_width": 8,
        "inner_learning_rate": 0.05,
        "num_inner_documents": 2,
        "max_inner_tokens": 64,
        "locality_weight": 0.1,
        "seed": 0,
    }
    return Camels(**(values | changes))


def weight_model(learner: Learner) -> WeightModel:
    return WeightModel(learner.frozen_copy(), rank=2, alpha=4.0, targets="all", head_width=8, seed=0)


def objective(learner: Learner, model: nn.Module, **changes: Any) -> CamelsObjective:
    values: dict[str, Any] = {
        "inner_learning_rate": 0.1,
        "num_inner_documents": 3,
        "max_inner_tokens": 64,
        "locality_weight": 0.1,
        "seed": 0,
    }
    return CamelsObjective(learner, model, EPISODES.train, **(values | changes))


def test_weights_begin_at_a_third_of_ln_2(tiny_llama: Learner) -> None:
    batch = tiny_llama.collate(tiny_llama.rows(EPISODES.train[0].support[0].as_example()))
    weights = weight_model(tiny_llama)(batch)
    torch.testing.assert_close(weights, torch.full(batch.input_ids.shape, math.log(2) / 3))


def test_weight_formula_by_hand() -> None:
    fc2 = nn.Linear(1, 1)
    with torch.no_grad():
        fc2.weight.fill_(2.0)
        fc2.bias.fill_(-1.0)
    gelu = 0.5 * (1 + math.erf(1 / math.sqrt(2)))  # of 1
    expected = math.log1p(math.exp(3 * (2 * gelu - 1))) / 3
    torch.testing.assert_close(token_weights(torch.tensor([[[1.0]]]), fc2), torch.tensor([[expected]]))


def test_an_inner_update_and_its_derivative_by_hand() -> None:
    theta, w = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    updated = sgd_step({"theta": theta}, w * theta**2, 0.1)["theta"]  # 2 - 0.1 * 3 * 4
    assert updated.item() == pytest.approx(0.8)
    (updated**2).backward()  # d/dw (theta - 0.1 * 2 w theta)^2 = 2 * 0.8 * (-0.4)
    assert w.grad is not None and w.grad.item() == pytest.approx(-0.64)


def test_a_parameter_outside_the_loss_is_left_alone() -> None:
    used, unused = torch.tensor(1.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    assert sgd_step({"a": used, "b": unused}, used**2, 0.1)["b"] is unused


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_standing_in_for_the_weights_changes_nothing(make_learner: Callable[[str], Learner], family: str) -> None:
    learner = make_learner(family)
    batch = learner.collate(learner.rows(EPISODES.train[0].query[0]))
    own = {name: p.detach() for name, p in learner.model.named_parameters()}
    torch.testing.assert_close(functional_forward(learner, own, batch).token_nll, learner.forward(batch).token_nll)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_outer_gradient_agrees_with_finite_differences(make_learner: Callable[[str], Learner], family: str) -> None:
    learner = make_learner(family)
    model = weight_model(learner)
    made = objective(learner, model)
    terms = made.backward([0, 1, 2], micro_batch_size=3, step=0, num_steps=1)
    gradient = model.fc2.bias.grad
    assert gradient is not None

    def loss(shift: float) -> Tensor:
        with torch.no_grad():
            model.fc2.bias.fill_(shift)
        losses = made._outer_losses([0, 1, 2], step=0, draw=random.Random("locality 0 0 0"))
        return (losses["answers"] + losses["locality"]).detach()

    torch.testing.assert_close(loss(0.0), terms["loss"])
    difference = (loss(0.1) - loss(-0.1)) / 0.2
    torch.testing.assert_close(gradient.squeeze(), difference, rtol=0.02, atol=1e-4)
    assert difference.abs() > 1e-3


def test_gradients_reach_the_encoder_once_the_head_has_moved(tiny_llama: Learner) -> None:
    model = weight_model(tiny_llama)
    with torch.no_grad():
        model.fc2.weight.fill_(0.1)
    objective(tiny_llama, model).backward([0, 1, 2], micro_batch_size=3, step=0, num_steps=1)
    assert all(up.grad is not None and up.grad.abs().max() > 0 for up in model.lora.up)


def test_windows_of_a_row_score_every_token_once() -> None:
    row = Row("r", (9, 1, 2, 3, 4, 5, 6), num_prompt_tokens=1)
    cut = windows(row, 3)
    assert [(w.input_ids, w.num_prompt_tokens) for w in cut] == [((9, 1, 2), 1), ((2, 3, 4), 1), ((4, 5, 6), 1)]
    assert windows(row, 7) == [row]


def test_a_long_documents_tail_is_learned_too(tiny_llama: Learner) -> None:
    tiny_llama.max_tokens = 40
    text = " ".join(f"{name} moved to {city} in 1987 and works there." for name, city in FACTS)
    episode = Episode((Document("long", text),), (Example("q", "Who?", " Bo"),))
    (whole,) = [tiny_llama.encode(text)]
    values = {"inner_learning_rate": 0.1, "num_inner_documents": 1, "locality_weight": 0.0, "seed": 0}
    made = CamelsObjective(tiny_llama, nn.Module(), [episode], max_inner_tokens=16, **values)  # type: ignore[arg-type]
    read: set[int] = set()
    for step in range(100):
        (row,) = made._drawn(0, step)
        assert len(row.input_ids) <= 16
        read |= set(row.input_ids[row.num_prompt_tokens :])
        assert made._drawn(0, step) == [row]
    assert {*whole, tiny_llama.eos_id} <= read


def test_meta_training_leaves_the_learner_as_it_was(tiny_llama: Learner) -> None:
    before = {name: p.detach().clone() for name, p in tiny_llama.model.named_parameters()}
    method, session = make(), MemorySession()
    method.before_stream(tiny_llama, EPISODES, trainer().bind(tiny_llama, method, session))
    assert all(torch.equal(before[name], p) for name, p in tiny_llama.model.named_parameters())
    assert session.shown[-1] == ("Learning", 3, 3)
    assert {"answers", "locality"} <= session.logged[-1][1].keys()
    weights = method.state_dict()
    assert weights["fc2.weight"].abs().max() > 0  # trained


def test_batches_of_several_runs_average_over_answer_tokens(tiny_llama: Learner) -> None:
    model = weight_model(tiny_llama)
    parts = objective(tiny_llama, model, num_inner_documents=1, locality_weight=0.0)
    counts = [len(row.input_ids) - row.num_prompt_tokens for i in (0, 1) for row in parts._answers[i]]
    single = [parts.backward([i], micro_batch_size=1, step=0, num_steps=1)["loss"] for i in (0, 1)]
    both = parts.backward([0, 1], micro_batch_size=1, step=0, num_steps=1)["loss"]
    expected = sum(n * value for n, value in zip(counts, single, strict=True)) / sum(counts)
    torch.testing.assert_close(both, torch.as_tensor(expected))


def test_adapting_uses_the_weights_of_the_untouched_copy(tiny_gpt2: Learner) -> None:
    method = make()
    method.before_stream(tiny_gpt2, EPISODES, trainer().bind(tiny_gpt2, method, MemorySession()))
    batch = tiny_gpt2.collate(tiny_gpt2.rows(EPISODES.train[1].support[0].as_example()))
    outputs = tiny_gpt2.forward(batch)
    before = method.token_weights(tiny_gpt2, batch, outputs)
    documents = [d for episode in EPISODES.train for d in episode.support]
    task = Task("t", 0, [d.as_example() for d in documents], documents=documents)
    session = MemorySession()
    method.learn(tiny_gpt2, task, trainer(log_every_steps=1).bind(tiny_gpt2, method, session))
    assert len(session.logged) == len(documents)
    assert not torch.equal(tiny_gpt2.forward(batch).token_nll, outputs.token_nll)
    assert torch.equal(method.token_weights(tiny_gpt2, batch, outputs), before)
    assert not before.requires_grad


def test_state_round_trip(make_learner: Callable[[str], Learner]) -> None:
    first, second = make(), make(seed=7)
    for method in (first, second):
        learner = make_learner("llama")
        method.before_stream(learner, EPISODES, trainer(max_steps=2).bind(learner, method, MemorySession()))
    assert not torch.equal(first.state_dict()["fc1.weight"], second.state_dict()["fc1.weight"])
    second.load_state_dict(first.state_dict())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_bf16_autocast_trains_float32_weights(tiny_llama: Learner) -> None:
    method, session = make(), MemorySession()
    made = trainer(precision="bf16", log_every_steps=1)
    method.before_stream(tiny_llama, EPISODES, made.bind(tiny_llama, method, session))
    assert all(value.dtype == torch.float32 for value in method.state_dict().values())
    exact = MemorySession()
    learner, other = tiny_llama, make()
    other.before_stream(learner, EPISODES, trainer(log_every_steps=1).bind(learner, other, exact))
    assert session.logged[0][1]["loss"] == pytest.approx(exact.logged[0][1]["loss"], rel=0.02)


def test_episodes_without_questions_are_refused(tiny_llama: Learner) -> None:
    method = make()
    with pytest.raises(UserError, match="has none"):
        method.before_stream(tiny_llama, Episodes(), trainer().bind(tiny_llama, method, MemorySession()))
