"""SEQ*: each part does what it says, the head is logistic regression on frozen features, labels are the answers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import Interrupted, UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method, Trainable
from cmt_cli.core.objectives import Budget
from cmt_cli.core.stream import Answer, Episodes, Example, Prompt, Task
from cmt_cli.layers.label_head import LabelHead
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.methods.sequential.seq_star import BackboneSettings, HeadSettings, LabelPredictor, SeqStar, labels_of
from cmt_cli.methods.sequential.seq_star_objective import frozen_features, prompt_rows
from cmt_cli.running.restore import FinishedFit
from cmt_cli.training.batching import BatchPlan
from tests.methods.task_sequences import same
from tests.training.sessions import MemorySession, budget, trainer

FULL, LORA = Full(num_frozen_blocks=0), Lora(rank=2, alpha=4.0, targets="query_value", seed=0)


def task(index: int, *labels: str) -> Task:
    words = ["red", "round", "old", "tall", "warm"]
    examples = [
        Example(f"{index}{label}{i}", f"The {label[::-1]} is {word}.\nKind:", f" {label}")
        for label in labels
        for i, word in enumerate(words)
    ]
    return Task(f"task{index}", index, examples)


TASKS = [task(0, "cello", "oboe"), task(1, "Czech", "Irish", "Welsh")]
DECODING = Decoding(max_new_tokens=4, batch_size=4, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
BUDGET = budget(num_epochs=2, num_steps=None, batch_size=4, learning_rate=1e-2)


def seq_star(
    *,
    trainable: Trainable = FULL,
    warm_up_epochs: float = 1.0,
    warm_up_loss: str = "language_model",
    freezes: bool = True,
    made: Budget = BUDGET,
    **head: Any,
) -> SeqStar:
    values: dict[str, Any] = {
        "kind": "cosine",
        "freezes_old_rows": True,
        "num_reserved_labels": 4,
        "max_labels": 5,
        "lr_multiplier": 3.0,
    }
    backbone = BackboneSettings(warm_up_epochs=warm_up_epochs, warm_up_loss=warm_up_loss, freezes=freezes)
    return SeqStar(trainable=trainable, backbone=backbone, head=HeadSettings(**(values | head)), budget=made, seed=0)


def started(learner: Learner, method: SeqStar) -> SeqStar:
    method.before_stream(learner, Episodes(), FinishedFit())
    return method


def learn(learner: Learner, method: Method, task: Task, session: MemorySession | None = None, **settings: Any) -> None:
    method.before_task(learner, task)
    fit = trainer(**settings).bind(learner, method, session or MemorySession())
    method.learn(learner, task, fit)
    method.after_task(learner, task)


def backbone(learner: Learner) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in learner.model.named_parameters() if not n.startswith("label_head")}


def head_of(learner: Learner) -> LabelHead:
    return learner.model.label_head


def prompts(task: Task) -> list[Prompt]:
    return [Prompt(example.id, example.prompt) for example in task.train]


def test_features_are_the_last_states_of_the_prompts(any_learner: Learner) -> None:
    texts = [example.prompt for example in TASKS[0].train]
    texts.append("A much longer text, whose padding the others get. " * 2)
    features = frozen_features(any_learner, prompt_rows(any_learner, texts))
    for text, feature in zip(texts, features, strict=True):
        with torch.no_grad():
            ids = torch.tensor([any_learner.prompt_ids(text)])
            expected = any_learner.model(ids, output_hidden_states=True).hidden_states[-1][0, -1]
        torch.testing.assert_close(feature, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_head_is_logistic_regression_on_frozen_features(any_learner: Learner, kind: str) -> None:
    """An independent loop with torch's AdamW over old, new and reserved rows, of which the old ones are frozen."""
    method = started(any_learner, seq_star(warm_up_epochs=0.0, kind=kind))
    learn(any_learner, method, TASKS[0])
    method.before_task(any_learner, TASKS[1])
    made = head_of(any_learner)
    old = made.rows[0].detach().clone()
    new = made.rows[1].detach().clone().requires_grad_()
    reserved = made.reserved.detach().clone()
    assert reserved.shape[0] == 0  # 4 were reserved, 5 are seen
    features = frozen_features(any_learner, prompt_rows(any_learner, [e.prompt for e in TASKS[1].train]))
    labels = torch.tensor([2 + i // 5 for i in range(15)])
    lengths = [len(any_learner.prompt_ids(e.prompt)) for e in TASKS[1].train]
    plan = BatchPlan(15, lengths, budget=BUDGET, max_steps=None, seed=0)
    adam = torch.optim.AdamW([new], lr=3e-2, weight_decay=0.0)
    for step in range(plan.num_steps):
        items, weight = plan.items(step), torch.cat([old, new])
        if kind == "cosine":
            logits = F.normalize(features[items], dim=1) @ F.normalize(weight, dim=1).T
        else:
            logits = features[items] @ weight[:, :-1].T + weight[:, -1]
        adam.zero_grad()
        F.cross_entropy(logits, labels[items]).backward()
        torch.nn.utils.clip_grad_norm_([new], 1.0)
        adam.step()
    method.learn(any_learner, TASKS[1], trainer().bind(any_learner, method, MemorySession()))
    torch.testing.assert_close(made.rows[1], new, rtol=1e-3, atol=1e-5)
    assert torch.equal(made.rows[0], old)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_warm_up_is_fine_tuning_step_by_step(make_learner: Callable[[str], Learner], family: str) -> None:
    learners = [make_learner(family), make_learner(family)]
    in_order = replace(BUDGET, num_epochs=0, shuffle=False)  # shuffling goes by lengths, here of the questions alone
    learn(learners[0], started(learners[0], seq_star(made=in_order)), TASKS[0])
    plain = FineTune(trainable=FULL)
    plain.before_stream(learners[1], Episodes(), FinishedFit())
    fit = trainer(task=replace(in_order, num_epochs=1)).bind(learners[1], plain, MemorySession())
    plain.learn(learners[1], TASKS[0], fit)
    values = backbone(learners[1])
    differing = [name for name, value in backbone(learners[0]).items() if not torch.equal(value, values[name])]
    assert not differing


@pytest.mark.parametrize("trainable", [FULL, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("warm_up_loss", ["language_model", "labels"])
def test_the_backbone_moves_in_the_warm_up_only(any_learner: Learner, trainable: Trainable, warm_up_loss: str) -> None:
    method = started(any_learner, seq_star(trainable=trainable, warm_up_loss=warm_up_loss))
    before = backbone(any_learner)
    session = MemorySession()
    learn(any_learner, method, TASKS[0], session, log_every_steps=1)
    warm = backbone(any_learner)
    assert not same(warm, before)
    assert len(session.logged) == 3 * 3  # (1 + 2) epochs of ceil(10 / 4) steps, a third of them warm-up
    name = "nll" if warm_up_loss == "language_model" else "cross_entropy"
    assert [name in values for _, values in session.logged[:3]] == [True] * 3
    assert all("cross_entropy" in values for _, values in session.logged[3:])
    rows = head_of(any_learner).rows[0].detach().clone()
    learn(any_learner, method, TASKS[1])
    assert same(backbone(any_learner), warm)
    assert torch.equal(head_of(any_learner).rows[0], rows)
    assert all(name.startswith("label_head") for name, p in any_learner.model.named_parameters() if p.requires_grad)


def test_a_budget_in_steps_is_that_in_epochs(make_learner: Callable[[str], Learner]) -> None:
    learners = [make_learner("llama"), make_learner("llama")]
    in_steps = replace(BUDGET, num_epochs=None, num_steps=6)  # of ceil(10 / 4) = 3 in each of two epochs
    for learner, made in zip(learners, (BUDGET, in_steps), strict=True):
        session = MemorySession()
        learn(learner, started(learner, seq_star(made=made)), TASKS[0], session, log_every_steps=1)
        assert ["nll" in values for _, values in session.logged] == [True] * 3 + [False] * 6
    assert same(*(learner.state_dict() for learner in learners))


def test_without_freezing_all_parts_learn_in_every_task(tiny_llama: Learner) -> None:
    method = started(tiny_llama, seq_star(freezes=False, freezes_old_rows=False))
    learn(tiny_llama, method, TASKS[0])
    warm, rows = backbone(tiny_llama), head_of(tiny_llama).rows[0].detach().clone()
    learn(tiny_llama, method, TASKS[1])
    assert not same(backbone(tiny_llama), warm)
    assert not torch.equal(head_of(tiny_llama).rows[0], rows)


def test_reserved_rows_learn_to_lose_and_never_answer(tiny_llama: Learner) -> None:
    method = started(tiny_llama, seq_star(num_reserved_labels=6, made=replace(BUDGET, num_epochs=10), kind="linear"))
    learn(tiny_llama, method, TASKS[0])
    head = head_of(tiny_llama)
    features = frozen_features(tiny_llama, prompt_rows(tiny_llama, [e.prompt for e in TASKS[0].train]))
    assert (head(features, with_reserved=True).argmax(dim=1) < 2).all() and len(head.reserved) == 4
    predictor = method.predictor(tiny_llama, 0)
    assert {answer.text for answer in predictor.generate(prompts(TASKS[1]), DECODING)} <= {"cello", "oboe"}


@pytest.mark.parametrize(
    "settings",
    [{}, {"warm_up_loss": "labels"}, {"freezes": False}, {"trainable": LORA}],
    ids=["language_model", "labels", "not frozen", "lora"],
)
def test_micro_batches_change_nothing(make_learner: Callable[[str], Learner], settings: dict[str, Any]) -> None:
    states = []
    for size in (None, 1, 3):
        learner = make_learner("llama")
        method = started(learner, seq_star(made=replace(BUDGET, learning_rate=1e-3), **settings))
        learn(learner, method, TASKS[0], micro_batch_size=size)
        states.append(learner.state_dict())
    for state in states[1:]:
        for name, value in state.items():
            torch.testing.assert_close(value, states[0][name], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(("killed_task", "killed_step"), [(0, 2), (0, 5), (1, 3)])
def test_a_killed_run_continues_bit_for_bit(
    make_learner: Callable[[str], Learner], family: str, killed_task: int, killed_step: int
) -> None:
    """Killed within the warm-up, behind it, and in the second task, which starts from a saved state."""
    learner = make_learner(family)
    method = started(learner, seq_star(num_reserved_labels=3))
    saved = []
    for one in TASKS:
        saved.append(({**learner.state_dict()}, method.state_dict()))
        learn(learner, method, one)
    session = MemorySession(stop_after=killed_step)
    for attempt in range(2):
        other = make_learner(family)
        resumed = started(other, seq_star(num_reserved_labels=3))
        resumed.load_state_dict(saved[killed_task][1])
        other.load_state_dict(saved[killed_task][0])
        if attempt == 0:
            with pytest.raises(Interrupted):
                learn(other, resumed, TASKS[killed_task], session)
        session = MemorySession(session.state)
    for one in TASKS[killed_task:]:
        learn(other, resumed, one, session)
        session = MemorySession()
    assert same(learner.state_dict(), other.state_dict())
    assert method.state_dict() == resumed.state_dict() and method.storage_bytes() == resumed.storage_bytes()
    assert answers(method, learner) == answers(resumed, other)


def answers(method: Method, learner: Learner) -> tuple[list[Answer], list[float]]:
    predictor = method.predictor(learner, 1)
    queried = [prompt for one in TASKS for prompt in prompts(one)]
    return predictor.generate(queried, DECODING), predictor.loglikelihood(queried, ["Irish"] * len(queried))


def test_it_answers_with_the_labels_that_it_learned(any_learner: Learner) -> None:
    method = started(any_learner, seq_star(kind="linear", warm_up_epochs=0.0, made=replace(BUDGET, num_epochs=60)))
    assert method.predictor(any_learner, -1) is any_learner
    for one in TASKS:
        learn(any_learner, method, one)
    predictor = method.predictor(any_learner, 1)
    given = [answer.text for answer in predictor.generate(prompts(TASKS[1]), DECODING)]
    right = [example.target.strip() for example in TASKS[1].train]
    assert sum(a == b for a, b in zip(given, right, strict=True)) >= 13
    assert method.storage_bytes() == sum(map(len, ["cello", "oboe", "Czech", "Irish", "Welsh"])) + 2 * 33 * 4


def test_likelihoods_are_a_distribution_over_labels_or_choices(tiny_gpt2: Learner) -> None:
    method = started(tiny_gpt2, seq_star())
    for one in TASKS:
        learn(tiny_gpt2, method, one)
    predictor = method.predictor(tiny_gpt2, 1)
    assert isinstance(predictor, LabelPredictor)
    labels = ["cello", " oboe", "Czech", "Irish", "Welsh"]
    prompt = prompts(TASKS[0])[0]
    everything = torch.tensor(predictor.loglikelihood([prompt] * 5, labels))
    assert everything.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert predictor.loglikelihood([prompt], ["harp"]) == [-float("inf")]
    assert predictor.generate([prompt], DECODING)[0].text == labels[everything.argmax()].strip()
    chosen = replace(prompt, choices=(" Czech", " Irish", " harp"))
    some = torch.tensor(predictor.loglikelihood([chosen] * 3, [" Czech", " Irish", " harp"]))
    torch.testing.assert_close(some[:2].exp(), everything[2:4].softmax(dim=0))
    assert some[2] == -torch.inf
    assert predictor.generate([chosen, prompt], DECODING)[0].text == ["Czech", "Irish"][some[:2].argmax()]
    unknown = replace(prompt, choices=(" harp",))
    assert predictor.generate([unknown], DECODING) == predictor.generate([prompt], DECODING)


def test_labels_that_come_again_keep_their_rows(tiny_llama: Learner) -> None:
    method = started(tiny_llama, seq_star(num_reserved_labels=0))
    learn(tiny_llama, method, TASKS[0])
    state = tiny_llama.state_dict()
    session = MemorySession()
    learn(tiny_llama, method, Task("again", 1, TASKS[0].train), session)  # nothing is left to train
    assert same(tiny_llama.state_dict(), state) and not session.shown
    learn(tiny_llama, method, task(2, "oboe", "harp"))
    assert method.state_dict()["labels"] == [["cello", "oboe"], ["harp"]]


def test_a_newer_state_is_dropped(tiny_llama: Learner) -> None:
    method = started(tiny_llama, seq_star(num_reserved_labels=3))
    learn(tiny_llama, method, TASKS[0])
    saved = method.state_dict(), {**tiny_llama.state_dict()}
    learn(tiny_llama, method, TASKS[1])
    method.load_state_dict(saved[0])
    tiny_llama.load_state_dict(saved[1])
    assert method.state_dict() == saved[0]
    assert all(torch.equal(value, tiny_llama.state_dict()[name]) for name, value in saved[1].items())


def test_what_is_no_classification_is_refused() -> None:
    with pytest.raises(UserError, match=r"3 distinct answers, more than method\.head\.max_labels=2"):
        labels_of(TASKS[1], 2)
    with pytest.raises(UserError, match="the example 'd' of task 'documents' has no question"):
        labels_of(Task("documents", 0, [Example("d", "", "Ada works in Oslo.")]), 2)
    with pytest.raises(UserError, match=r"method\.head\.kind='round'"):
        seq_star(kind="round")
    with pytest.raises(UserError, match=r"method\.backbone\.warm_up_loss='nll'"):
        seq_star(warm_up_loss="nll")
