"""The supervised loss and its hooks on a tiny Llama: hand-made sums against what the objective reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cmt_cli.core.batch import Batch, Outputs, Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.method import Method
from cmt_cli.core.stream import Document, Example
from cmt_cli.training.supervised import SupervisedObjective, micro_batches
from tests.training.sessions import MemorySession, budget, trainer

EXAMPLES = [
    Example("a", "Question: where?\nAnswer:", " in Paris"),
    Example("b", "Question: who wrote the long letter?\nAnswer:", " Ada"),
    Document("c", "The mill burned down in 1842 and was never built again.").as_example(),
    Example("d", "Q:", " x"),
    Document("e", "Short text.").as_example(),
]


class Halved(Method):
    def token_weights(self, learner: Learner, batch: Batch, outputs: Outputs) -> Tensor:
        return torch.full(batch.input_ids.shape, 0.5)


class Penalized(Method):
    """One penalty on the parameters and one mean per labelled token."""

    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        labelled = (batch.labels[:, 1:] != IGNORED).sum()
        return {
            "weights": sum((p.square().mean() for p in learner.trainable()), torch.zeros(())),
            "tokens": outputs.token_nll.square().sum() / labelled,
        }


class Replaying(Method):
    """Adds a random old row to each effective batch, as a replay buffer does."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.num_calls = 0

    def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
        self.num_calls += 1
        length = batch.input_ids.shape[1]
        ids = torch.randint(5, 50, (1, length), generator=self.generator)
        return Batch(
            (*batch.ids, "old"),
            torch.cat([batch.input_ids, ids]),
            torch.cat([batch.attention_mask, torch.ones_like(ids)]),
            torch.cat([batch.labels, ids]),
            torch.cat([batch.replayed, torch.tensor([True])]),
        )


def gradients(learner: Learner, method: Method, *, micro_batch_size: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    learner.unfreeze()
    learner.model.zero_grad()
    objective = SupervisedObjective(learner, method, EXAMPLES)
    items = list(range(objective.num_items))
    terms = objective.backward(items, micro_batch_size=micro_batch_size, step=0, num_steps=1)
    return terms, [p.grad.clone() for p in learner.trainable() if p.grad is not None]


def test_loss_is_the_mean_over_labelled_tokens(tiny_llama: Learner) -> None:
    batch = tiny_llama.collate([row for example in EXAMPLES for row in tiny_llama.rows(example)])
    nll = tiny_llama.forward(batch).token_nll
    expected = nll.sum() / (batch.labels[:, 1:] != IGNORED).sum()
    terms, _ = gradients(tiny_llama, Method(), micro_batch_size=99)
    torch.testing.assert_close(terms["loss"], expected)


@pytest.mark.parametrize("method", [Method(), Halved(), Penalized()], ids=["plain", "weights", "penalties"])
def test_micro_batches_do_not_change_loss_or_gradient(tiny_llama: Learner, method: Method) -> None:
    whole_terms, whole = gradients(tiny_llama, method, micro_batch_size=99)
    cut_terms, cut = gradients(tiny_llama, method, micro_batch_size=2)
    assert whole_terms.keys() == cut_terms.keys()
    for name, value in whole_terms.items():
        torch.testing.assert_close(cut_terms[name], value, rtol=1e-5, atol=1e-6)
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6)


def test_token_weights_multiply_but_means_count_all_tokens(tiny_llama: Learner) -> None:
    plain, _ = gradients(tiny_llama, Method(), micro_batch_size=99)
    halved, _ = gradients(tiny_llama, Halved(), micro_batch_size=99)
    torch.testing.assert_close(halved["nll"], 0.5 * plain["nll"])


def test_terms_add_up_to_the_loss(tiny_llama: Learner) -> None:
    terms, _ = gradients(tiny_llama, Penalized(), micro_batch_size=2)
    torch.testing.assert_close(terms["loss"], terms["nll"] + terms["weights"] + terms["tokens"])


def test_a_penalty_may_not_be_named_loss(tiny_llama: Learner) -> None:
    class Misnamed(Method):
        def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
            return {"loss": torch.zeros(())}

    with pytest.raises(ValueError, match="may not be named 'loss'"):
        gradients(tiny_llama, Misnamed(), micro_batch_size=99)


def test_replayed_rows_are_drawn_once_per_step(tiny_llama: Learner) -> None:
    _, whole = gradients(tiny_llama, Replaying(), micro_batch_size=99)
    method = Replaying()
    tiny_llama.model.zero_grad()
    objective = SupervisedObjective(tiny_llama, method, EXAMPLES)
    for _ in range(2):  # a second attempt, as after running out of memory
        tiny_llama.model.zero_grad()
        objective.backward(range(objective.num_items), micro_batch_size=1, step=0, num_steps=1)
    assert method.num_calls == 1
    for a, p in zip(whole, tiny_llama.trainable(), strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, a, rtol=1e-4, atol=1e-6)


def test_micro_batches_keep_every_row_and_drop_padding(tiny_llama: Learner) -> None:
    batch = tiny_llama.collate([Row(str(n), tuple(range(5, 5 + n)), 0) for n in (2, 3, 7)])
    first, second = micro_batches(batch, 2)
    assert first.ids == ("2", "3") and second.ids == ("7",)
    assert first.input_ids.shape == (2, 3) and second.input_ids.shape == (1, 7)
    assert first.labels.tolist() == [[5, 6, IGNORED], [5, 6, 7]]


def test_learning_an_example_makes_it_likelier(tiny_gpt2: Learner) -> None:
    method, session = Method(), MemorySession()
    tiny_gpt2.unfreeze()
    made = trainer(task=budget(num_steps=20, batch_size=2, learning_rate=1e-2))
    made.bind(tiny_gpt2, method, session).on_examples(EXAMPLES)
    assert session.logged[-1][1]["nll"] < 0.5 * session.logged[0][1]["nll"]
    assert session.shown[-1] == ("Learning", 20, 20)


def test_adjusted_gradients_are_what_is_applied(tiny_llama: Learner) -> None:
    class Frozen(Method):
        def adjust_gradients(self, learner: Learner) -> None:
            for parameter in learner.trainable():
                assert parameter.grad is not None
                parameter.grad.zero_()

    tiny_llama.unfreeze()
    before = tiny_llama.state_dict()
    trainer().bind(tiny_llama, Frozen(), MemorySession()).on_examples(EXAMPLES)
    assert all(torch.equal(before[name], value) for name, value in tiny_llama.state_dict().items())


def test_the_methods_factor_scales_the_learning_rate(tiny_llama: Learner) -> None:
    class Slow(Method):
        def lr_scale(self, step: int, num_steps: int) -> float:
            return (step + 1) / num_steps

    session = MemorySession()
    tiny_llama.unfreeze()
    made = trainer(log_every_steps=1)
    made.bind(tiny_llama, Slow(), session).on_examples(EXAMPLES, budget(num_steps=2, learning_rate=0.4))
    assert [values["learning_rate"] for _, values in session.logged] == [0.2, 0.4]


def test_a_fit_without_examples_does_nothing(tiny_llama: Learner) -> None:
    session = MemorySession()
    examples: Sequence[Example] = []
    trainer().bind(tiny_llama, Method(), session).on_examples(examples)
    assert not session.shown


def test_nothing_to_train_is_an_error(tiny_llama: Learner) -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        trainer().bind(tiny_llama, Method(), MemorySession()).on_examples(EXAMPLES)


def test_rows_without_labels_add_nothing(tiny_llama: Learner) -> None:
    class Unlabelled(Method):
        def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
            return replace(batch, labels=torch.full_like(batch.labels, IGNORED))

    terms, grads = gradients(tiny_llama, Unlabelled(), micro_batch_size=2)
    assert terms["loss"] == 0 and all(not g.any() for g in grads)
