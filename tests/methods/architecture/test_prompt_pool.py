"""L2P: prompts chosen by keys, keys pulled to the questions that chose them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cmt_cli.core.batch import Batch
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.stream import Episodes, Example, Prompt, Task
from cmt_cli.layers.pooled_prompts import Pool, question_means
from cmt_cli.layers.prompts import SoftPrompt
from cmt_cli.methods.architecture.prompt_pool import PromptPool, shares
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.running.restore import FinishedFit
from tests.methods.task_sequences import assert_survives_a_kill, same, started
from tests.present import present
from tests.training.sessions import MemorySession, budget, trainer

POOL = Pool(num_prompts=5, num_virtual=2, num_chosen=2, num_common=300, seed=0)
GREEDY = Decoding(max_new_tokens=3, batch_size=8, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
TASKS = [
    Task(
        "places",
        0,
        [
            Example("a", "Question: Where does Ada Lovelace work?\nAnswer:", " London"),
            Example("b", "Where?", " in the city of Turin"),
            Example("c", "Question: Where did Mara live before 1987?\nAnswer:", " Lagos"),
        ],
    ),
    Task(
        "names",
        1,
        [Example("d", "Who opened the bridge?", " the mayor"), Example("e", "A name, a year:", " Ada, 1987")],
    ),
]


def make(pull: float = 0.5, *, diversify: bool = False, pool: Pool = POOL) -> PromptPool:
    return PromptPool(trainable=pool, pull=pull, diversify=diversify)


def batch_of(learner: Learner, task: Task) -> Batch:
    return learner.collate([row for example in task.train for row in learner.rows(example)])


def learned(learner: Learner, method: Method, task: Task, **settings: Any) -> None:
    method.before_task(learner, task)
    made = trainer(task=budget(num_steps=3, batch_size=3, learning_rate=1e-2), **settings)
    method.learn(learner, task, made.bind(learner, method, MemorySession()))
    method.after_task(learner, task)


def test_the_pull_by_hand(any_learner: Learner) -> None:
    method = started(any_learner, make(pull=0.5))
    batch = batch_of(any_learner, TASKS[0])
    outputs = any_learner.forward(batch)
    queries = question_means(any_learner.model, batch.input_ids, batch.is_prompt)
    total, num_tokens = torch.zeros(()), 0
    for row, query in enumerate(queries):
        cosines = torch.stack([F.cosine_similarity(query, key, dim=0) for key in method.pool.keys])
        tokens = int((batch.labels[row] != -100).sum())
        total = total + tokens * cosines.topk(2).values.sum()
        num_tokens += tokens
    expected = -0.5 * total / num_tokens
    found = method.penalties(any_learner, batch, outputs)["pull"]
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, method.pool.keys, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, method.pool.keys)[0])
    (unused,) = torch.autograd.grad(found, method.pool.prompts, allow_unused=True)
    assert unused is None


def test_one_prompt_without_pull_is_prompt_tuning(any_learner: Learner, make_learner: Callable[[str], Learner]) -> None:
    family = any_learner.model.config.model_type
    plain = make_learner(family)
    prompt = started(plain, FineTune(trainable=SoftPrompt(num_virtual=4, text=None, num_common=300, seed=0)))
    one = Pool(num_prompts=1, num_virtual=4, num_chosen=1, num_common=300, seed=0)
    pool = started(any_learner, make(pull=0.0, pool=one))
    keys = pool.pool.keys.clone()
    for task in TASKS:
        learned(plain, prompt, task)
        learned(any_learner, pool, task)
        torch.testing.assert_close(pool.pool.prompts[0], plain.model.prefix_source.value(0), rtol=0.0, atol=1e-6)
    assert torch.equal(pool.pool.keys, keys)


@pytest.mark.parametrize("diversify", [False, True])
def test_the_micro_batch_changes_nothing(make_learner: Callable[[str], Learner], diversify: bool) -> None:
    learners = [make_learner("llama") for _ in range(3)]
    methods = [started(learner, make(diversify=diversify)) for learner in learners]
    for task in TASKS:
        for learner, method, size in zip(learners, methods, (3, 2, 1), strict=True):
            learned(learner, method, task, micro_batch_size=size)
    for learner, method in zip(learners[1:], methods[1:], strict=True):
        for name, value in learners[0].state_dict().items():
            torch.testing.assert_close(learner.state_dict()[name], value, rtol=0.0, atol=2e-5)
        assert torch.equal(method.state_dict()["counts"], methods[0].state_dict()["counts"])


def test_the_answer_does_not_change_which_prompts_are_chosen(any_learner: Learner) -> None:
    method = started(any_learner, make())
    chosen = []
    for target in (" London", " a much longer answer than the other one"):
        batch = any_learner.collate(any_learner.rows(Example("a", TASKS[0].train[0].prompt, target)))
        chosen.append(method.pool.choice(batch.input_ids, batch.is_prompt).tolist())
    ids = torch.tensor([any_learner.prompt_ids(TASKS[0].train[0].prompt)])
    queried = method.pool.choice(ids, torch.ones_like(ids).bool()).tolist()  # as in generation
    assert chosen == [queried, queried]


def test_batches_of_questions_are_answered_as_single_ones(any_learner: Learner) -> None:
    method = started(any_learner, make())
    learned(any_learner, method, TASKS[0])
    examples = [example for task in TASKS for example in task.train]
    prompts = [Prompt(example.id, example.prompt) for example in examples]
    targets = [example.target for example in examples]
    predictor = method.predictor(any_learner, 0)
    assert predictor.generate(prompts, GREEDY) == [predictor.generate([p], GREEDY)[0] for p in prompts]
    alone = [predictor.loglikelihood([p], [t])[0] for p, t in zip(prompts, targets, strict=True)]
    assert predictor.loglikelihood(prompts, targets) == pytest.approx(alone, abs=1e-4)


def test_forward_passes_over_other_rows_leave_the_pull(tiny_llama: Learner) -> None:
    method = started(tiny_llama, make())
    batch, other = batch_of(tiny_llama, TASKS[0]), batch_of(tiny_llama, TASKS[1])
    outputs = tiny_llama.forward(batch)
    expected = method.penalties(tiny_llama, batch, outputs)["pull"]
    tiny_llama.forward(other)  # as another member of a combination may
    assert torch.equal(method.penalties(tiny_llama, batch, outputs)["pull"], expected)


def test_one_query_is_made_for_each_batch(tiny_llama: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    method = started(tiny_llama, make())
    calls = []
    base = tiny_llama.model.base_model
    hook = base.register_forward_hook(lambda module, inputs, output: calls.append(torch.is_grad_enabled()))
    batch = batch_of(tiny_llama, TASKS[0])
    method.penalties(tiny_llama, batch, tiny_llama.forward(batch))
    hook.remove()
    assert calls == [False, True]  # the query without gradients, then the model


def test_diversification_penalizes_frequent_prompts_in_training_only(any_learner: Learner) -> None:
    method = started(any_learner, make(pull=0.5, diversify=True))
    assert method.storage_bytes() == 5 * 8
    method.before_task(any_learner, TASKS[0])
    assert present(method.pool.usage).tolist() == pytest.approx([0.2] * 5)
    batch = batch_of(any_learner, TASKS[0])
    chosen = method.pool.choice(batch.input_ids, batch.is_prompt)
    method.after_task(any_learner, TASKS[0])
    counts = method.state_dict()["counts"]
    assert counts.tolist() == torch.bincount(chosen.flatten(), minlength=5).tolist()
    assert counts.sum() == 2 * 3  # two choices for each of three examples
    assert method.pool.usage is None
    method.before_task(any_learner, TASKS[1])
    assert torch.equal(present(method.pool.usage), shares(counts))


def test_shares_by_hand() -> None:
    assert shares(torch.tensor([3, 0, 1])).tolist() == pytest.approx([4 / 7, 1 / 7, 2 / 7])


@pytest.mark.parametrize("diversify", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_killed_run_continues_bit_for_bit(
    make_learner: Callable[[str], Learner], family: str, diversify: bool
) -> None:
    assert_survives_a_kill(lambda: make_learner(family), lambda: make(diversify=diversify))


def test_a_state_from_mid_task_restores_the_model(make_learner: Callable[[str], Learner]) -> None:
    learner, fresh = make_learner("gpt2"), make_learner("gpt2")
    method = started(learner, make(diversify=True))
    learned(learner, method, TASKS[0])
    method.before_task(learner, TASKS[1])
    other = make(diversify=True)
    other.before_stream(fresh, Episodes(), FinishedFit())
    other.load_state_dict(method.state_dict())
    fresh.load_state_dict(learner.state_dict())
    other.before_task(fresh, TASKS[1])
    assert same(learner.state_dict(), fresh.state_dict())
    batch = batch_of(learner, TASKS[1])
    outputs = learner.forward(batch), fresh.forward(batch)
    assert torch.equal(outputs[0].token_nll, outputs[1].token_nll)
    pulls = method.penalties(learner, batch, outputs[0]), other.penalties(fresh, batch, outputs[1])
    assert torch.equal(pulls[0]["pull"], pulls[1]["pull"])


def test_wrong_settings_are_refused(tiny_llama: Learner) -> None:
    with pytest.raises(UserError, match="pool of prompts"):
        prompt = SoftPrompt(num_virtual=4, text=None, num_common=300, seed=0)
        PromptPool(trainable=prompt, pull=1.0, diversify=False)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"method\.pull=-1"):
        make(pull=-1.0)
    with pytest.raises(UserError, match="num_chosen=6"):
        Pool(num_prompts=5, num_virtual=2, num_chosen=6, num_common=300, seed=0).apply(tiny_llama)
