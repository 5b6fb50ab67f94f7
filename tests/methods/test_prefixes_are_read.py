"""Another prefix gives other logits, in the forward pass and at every decoded token, for every method that has one.

A version of transformers that does not know the name under which keys and values are handed over swallows them in
`**kwargs`: everything runs on, and answers as the base model does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from cmt_cli.core.batch import Row
from cmt_cli.core.decoding import continued
from cmt_cli.core.learner import PREFIX_SOURCE, Learner
from cmt_cli.core.method import Method
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.core.stream import Prompt
from cmt_cli.layers.injection import KeyValueInjection, MacInjection, SoftInjection
from cmt_cli.layers.pooled_prompts import Pool
from cmt_cli.layers.prefixes import PrefixKeyValues
from cmt_cli.layers.prompts import SoftPrompt
from cmt_cli.methods.amortized.amortized_method import AmortizedMethod
from cmt_cli.methods.amortized.mbc import Mbc
from cmt_cli.methods.architecture.progressive_prompts import ProgressivePrompts
from cmt_cli.methods.architecture.prompt_pool import PromptPool
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.amortized.test_mbc import mbc
from tests.methods.amortized_parts import Steps, cmt, episodes, mac, task
from tests.methods.task_sequences import TASKS, started

PROMPT = SoftPrompt(num_virtual=3, text=None, num_common=300, seed=0)
POOL = Pool(num_prompts=5, num_virtual=2, num_chosen=2, num_common=300, seed=0)
TRAINED: dict[str, Callable[[], Method]] = {
    "prompt_tuning": lambda: FineTune(trainable=PROMPT),
    "prefix_tuning": lambda: FineTune(
        trainable=PrefixKeyValues(num_virtual=3, reparametrization=None, num_common=300, seed=0)
    ),
    "prefix_tuning_network": lambda: FineTune(
        trainable=PrefixKeyValues(num_virtual=3, reparametrization=8, num_common=300, seed=0)
    ),
    "progressive_prompts": lambda: ProgressivePrompts(trainable=PROMPT, reparametrization=None),
    "prompt_pool": lambda: PromptPool(trainable=POOL, pull=0.5, diversify=False),
}
REMEMBERED: dict[str, Callable[[], AmortizedMethod]] = {"cmt": cmt, "mac": mac, "mbc": mbc}
INJECTIONS = [SoftInjection(), KeyValueInjection(inner_width=16), MacInjection(virtual_per_layer=2, inner_width=16)]
ROWS = [Row("a", (31, 32, 33, 34, 35), 2), Row("b", (41, 42, 43), 1)]
STEPS = 4
VISIBLE = 1e-3  # far above what batching or another order of sums changes


@torch.no_grad()
def all_logits(learner: Learner, prefix: Prefix | None = None) -> list[Tensor]:
    """Return the logits of a forward pass over ROWS, then those of each step of a decoding of fixed tokens."""
    batch = learner.collate(ROWS)
    found = [learner.forward(batch, prefix=prefix).logits]
    ids = batch.input_ids[:, :2]
    mask = torch.ones_like(ids)
    source = learner.prefix_source
    in_front = source.prefix(ids, mask.bool()) if prefix is None and source is not None else prefix

    def fixed(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        found.append(logits)
        return torch.full((len(logits),), 50 + step)

    continued(learner.model, model_inputs(learner.model, ids, mask, in_front), STEPS, end_ids=(-1,), choose=fixed)
    return found


def assert_all_differ(before: list[Tensor], after: list[Tensor]) -> None:
    assert len(before) == len(after) == 1 + STEPS
    assert [float((a - b).abs().amax()) > VISIBLE for a, b in zip(before, after, strict=True)] == [True] * (1 + STEPS)


@pytest.mark.parametrize("name", TRAINED)
def test_a_changed_trained_prefix_changes_all_logits(any_learner: Learner, name: str) -> None:
    method = started(any_learner, TRAINED[name]())
    method.before_task(any_learner, TASKS[0])
    before, choices = all_logits(any_learner), choice_scores(any_learner)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in any_learner.model.get_submodule(PREFIX_SOURCE).parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    assert_all_differ(before, all_logits(any_learner))
    assert all(abs(a - b) > VISIBLE for a, b in zip(choices, choice_scores(any_learner), strict=True))


def fill(method: AmortizedMethod, learner: Learner, documents: Sequence[int]) -> None:
    """Store documents; MBC gets codes of the test's choice, since a short training gives all documents one code."""
    if isinstance(method, Mbc):
        method.codes = {f"d{i}#0": torch.full((2,), i % method.num_codes, dtype=torch.int16) for i in documents}
    else:
        method.learn(learner, task(*documents), Steps(0))


def choice_scores(learner: Learner) -> list[float]:
    """Return the scores of answers that share the keys and values of their question."""
    prompt = Prompt("q", "Question: Where does Ada work?\nAnswer:")
    return learner.loglikelihood([prompt] * 3, [" in London", " in the city of Turin", " yes"])


@pytest.mark.parametrize("injection", INJECTIONS, ids=lambda injection: type(injection).__name__)
@pytest.mark.parametrize("name", REMEMBERED)
def test_other_memories_change_all_logits(
    make_learner: Callable[[str], Learner], family: str, name: str, injection: SoftInjection
) -> None:
    scores = []
    for documents in ((0, 1), (4, 5)):
        learner, method = make_learner(family), REMEMBERED[name]()
        method.parts = dataclasses.replace(method.parts, injection=injection)
        method.before_stream(learner, episodes(), Steps(10))
        fill(method, learner, documents)
        prompts = [Prompt("q", "What does ada like?")] * 2
        scores.append(method.predictor(learner, 1).loglikelihood(prompts, [" 0", " the color"]))
    assert all(abs(a - b) > 1e-5 for a, b in zip(*scores, strict=True))
    width = method.amortizer.width
    memories = torch.randn(2, 2, 2, width, generator=torch.Generator().manual_seed(0))
    first, second = (method.amortizer.injection(memory) for memory in memories)
    assert_all_differ(all_logits(learner, first), all_logits(learner, second))


@pytest.fixture(params=["llama", "gpt2", "qwen2", "qwen3"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)
