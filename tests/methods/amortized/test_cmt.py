"""CMT: the model stays frozen, each technique is a switch, and with all of them off it is MAC."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt, Task
from cmt_cli.methods.amortized.amortized_predictor import AmortizedPredictor
from cmt_cli.methods.amortized.cmt_objective import PastKeys, inner_products, matching_loss
from cmt_cli.methods.amortized.encoded_batch import encode_batch, make_items
from tests.methods.amortized_parts import Steps, cmt, document, episodes, mac, question, task
from tests.models.chat_learners import chat_learner
from tests.present import present

GREEDY = Decoding(max_new_tokens=3, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
OFF = {"memory_aware_objective": False, "self_matching": False, "top_k_aggregation": False}


def prompts(*indices: int) -> list[Prompt]:
    return [Prompt(q.id, q.prompt, (), q.document_ids) for q in map(question, indices)]


@pytest.mark.parametrize("family", ["tiny_llama", "tiny_gpt2", "tiny_qwen"])
def test_language_model_is_frozen_through_meta_training_and_learning(
    family: str, request: pytest.FixtureRequest
) -> None:
    learner = request.getfixturevalue(family)
    before = {name: p.clone() for name, p in learner.model.named_parameters()}
    method = cmt()
    method.before_stream(learner, episodes(), Steps(3))
    method.learn(learner, task(0, 1, 2), Steps(0))
    answers = method.predictor(learner, 0).generate(prompts(0, 1), GREEDY)
    assert [len(answer.documents) for answer in answers] == [2, 2]  # top_k of three
    assert all(torch.equal(p, before[name]) for name, p in learner.model.named_parameters())
    assert learner.state_dict() == {}  # nothing of the model to store


def test_meta_training_lowers_the_loss(tiny_llama: Learner) -> None:
    method = cmt(gumbel_scale=0.0, gold_probability=1.0)
    method.before_stream(tiny_llama, episodes(), Steps(0))
    objective = method.objective(tiny_llama, make_items(tiny_llama, method.amortizer, episodes().train, 0))

    def loss() -> float:
        return float(objective.backward(range(8), micro_batch_size=8, step=0, num_steps=1)["loss"])

    first = loss()
    Steps(30).on_objective(objective)
    assert loss() < 0.7 * first


def test_everything_off_is_numerically_mac(tiny_llama: Learner) -> None:
    plain, reference = cmt(**OFF), mac()
    for method in (plain, reference):
        method.before_stream(tiny_llama, episodes(), Steps(4))
        method.learn(tiny_llama, task(0, 1, 2, 3, 4), Steps(0))
    ours, theirs = (dict(m.amortizer.named_parameters()) for m in (plain, reference))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    states = plain.amortizer.encode_questions([[5, 6, 7], [8, 9]])
    predictors = [m.predictor(tiny_llama, 0) for m in (plain, reference)]
    recalls = [p.recall for p in predictors if isinstance(p, AmortizedPredictor)]
    first, second = (present(recall(states, prompts(0, 1))[0]) for recall in recalls)
    assert torch.equal(first, second)


def test_top_k_of_all_without_prior_attends_like_mac(tiny_llama: Learner) -> None:
    # lambda -> 0 leaves plain cross-attention to every memory, from the mean memory instead of the question's states
    method = cmt(top_k=5, prior_strength=1e-9)
    method.before_stream(tiny_llama, episodes(), Steps(2))
    method.learn(tiny_llama, task(0, 1, 2, 3, 4), Steps(0))
    method.matching.log_strength.data.fill_(-30.0)
    states = method.amortizer.encode_questions([[5, 6, 7]])
    memories = method.bank.memories(torch.arange(5))
    expected = method.amortizer.aggregator(memories.mean(0)[None], method.amortizer.aggregator.project(memories)[None])
    assert torch.allclose(present(method.recall_top_k(states, prompts(0))[0]), expected, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, OFF], ids=["all on", "all off"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(tiny_llama: Learner, changes: dict[str, Any]) -> None:
    gradients = []
    for micro_batch_size in (8, 3):
        method = cmt(**changes)
        method.before_stream(tiny_llama, episodes(), Steps(2))
        objective = method.objective(tiny_llama, make_items(tiny_llama, method.amortizer, episodes().train, 0))
        objective.backward(range(8), micro_batch_size=micro_batch_size, step=3, num_steps=9)
        gradients.append({n: p.grad for n, p in method.amortizer.named_parameters() if p.grad is not None})
    whole, pieces = gradients
    assert whole.keys() == pieces.keys()
    assert all(torch.allclose(whole[n], pieces[n], atol=1e-5, rtol=1e-3) for n in whole)


def test_matching_loss_on_two_questions_of_one_document() -> None:
    logits = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])  # three questions, two documents
    gold = torch.tensor([0, 0, 1])
    e = math.e
    to_document = -(math.log(e / (e + 1)) + math.log(e**2 / (e**2 + 1)) + math.log(1 / 2)) / 3
    to_question = -(math.log((e + e**2) / (e + e**2 + 1)) + math.log(1 / 3)) / 2
    none = torch.empty(3, 0)
    assert math.isclose(float(matching_loss(logits, gold, none)), (to_document + to_question) / 2, rel_tol=1e-6)


def test_further_negatives_count_for_questions_only() -> None:
    logits, gold = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    negatives = torch.tensor([[2.0, -math.inf], [0.0, 0.0]])  # the first question's second negative is its own document
    e = math.e
    to_document = -(math.log(e / (e + 1 + e**2)) + math.log(1 / 4)) / 2
    to_question = -(math.log(e / (e + 1)) + math.log(1 / 2)) / 2
    assert math.isclose(float(matching_loss(logits, gold, negatives)), (to_document + to_question) / 2, rel_tol=1e-6)


def test_past_keys_keep_the_newest_and_their_owners() -> None:
    past = PastKeys(limit=3)
    queries = torch.eye(2)
    assert past.cosines(queries, ["a", "b"])[0].shape == (2, 0)
    past.hold(torch.eye(2), ["a", "b"])
    past.hold(torch.eye(2), ["a", "b"])  # the batch was repeated with less memory: it counts once
    past.add_held()
    past.hold(-torch.eye(2), ["c", "d"])
    past.add_held()
    restored = PastKeys(limit=3)
    restored.load_state_dict(past.state_dict())
    cosines, is_own = restored.cosines(queries, ["b", "d"])
    assert cosines.tolist() == [[0.0, -1.0, 0.0], [1.0, 0.0, -1.0]]  # of b, c, d
    assert is_own.tolist() == [[True, False, False], [False, False, True]]


def test_questions_of_one_document_share_its_memory(tiny_llama: Learner) -> None:
    method = cmt()
    method.before_stream(tiny_llama, episodes(), Steps(0))
    items = make_items(tiny_llama, method.amortizer, episodes().train, 0)
    batch = encode_batch(method.amortizer, [items[0], items[1], items[0]], micro_batch_size=8)
    assert len(batch.memories) == 2
    assert batch.gold.tolist() == [0, 1, 0]


def test_memories_are_looked_up_by_the_bare_question(tiny_llama: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, method = chat_learner(tiny_llama), cmt()
    method.before_stream(learner, episodes(), Steps(0))
    (item, *_) = make_items(learner, method.amortizer, episodes().train, 0)
    example = episodes().train[0].query[0]
    assert list(item.question) == learner.encode(example.prompt)  # in meta-training
    assert item.row.input_ids == learner.rows(example)[0].input_ids  # a turn of the template
    assert item.row.input_ids[: len(learner.prompt_format.head_ids)] == learner.prompt_format.head_ids
    method.learn(learner, task(0, 1, 2), Steps(0))
    seen: list[list[int]] = []
    encode = method.amortizer.encode_questions

    def recorded(sequences: list[list[int]]) -> torch.Tensor:
        seen.extend(sequences)
        return encode(sequences)

    monkeypatch.setattr(method.amortizer, "encode_questions", recorded)
    method.predictor(learner, 0).generate([Prompt("q", example.prompt)], GREEDY)
    assert seen == [list(item.question)]  # and in answering


def test_state_round_trips_and_drops_newer_memories(tiny_llama: Learner, tmp_path: Path) -> None:
    method = cmt()
    method.attach(tmp_path)
    method.before_stream(tiny_llama, episodes(), Steps(2))
    method.learn(tiny_llama, task(0, 1, 2), Steps(0))
    state = method.state_dict()
    expected = method.predictor(tiny_llama, 0).generate(prompts(0, 1, 2), GREEDY)
    method.learn(tiny_llama, task(3, 4), Steps(0))  # work that a kill undoes

    resumed = cmt()
    resumed.attach(tmp_path)
    resumed.before_stream(tiny_llama, episodes(), Steps(0))
    resumed.load_state_dict(state)
    assert len(resumed.bank) == 3
    assert resumed.predictor(tiny_llama, 0).generate(prompts(0, 1, 2), GREEDY) == expected


def test_removed_document_is_not_recalled(tiny_llama: Learner) -> None:
    method = cmt(top_k=4)
    method.before_stream(tiny_llama, episodes(), Steps(0))
    method.learn(tiny_llama, task(0, 1, 2, 3), Steps(0))
    method.bank.remove(document(1).id)
    (answer,) = method.predictor(tiny_llama, 0).generate(prompts(1), GREEDY)
    assert {name for name, _ in answer.documents} == {"d0", "d2", "d3"}


def test_a_documents_new_text_replaces_the_old_one(tiny_llama: Learner) -> None:
    method = cmt()
    method.before_stream(tiny_llama, episodes(), Steps(0))
    method.learn(tiny_llama, task(0, 1), Steps(0))
    before = method.bank.memories(method.bank.rows())
    changed = dataclasses.replace(document(0), text="ada likes another color")
    method.learn(tiny_llama, Task("update", 1, (), (), [changed, document(2)]), Steps(0))
    assert len(method.bank) == 3
    (row,) = method.bank.rows_of("d0")
    assert not torch.allclose(method.bank.memories(torch.tensor([row])), before[:1])


def test_with_an_empty_bank_the_base_model_answers(tiny_llama: Learner) -> None:
    method = cmt()
    method.before_stream(tiny_llama, episodes(), Steps(2))
    ours = method.predictor(tiny_llama, -1).generate(prompts(0, 1), GREEDY)
    assert [a.text for a in ours] == [a.text for a in tiny_llama.generate(prompts(0, 1), GREEDY)]


def test_match_scores_are_float32_under_autocast(tiny_llama: Learner) -> None:
    method = cmt(temperature=0.01)  # the smallest, which magnifies rounding most
    method.before_stream(tiny_llama, episodes(), Steps(0))
    encoder = method.amortizer
    memories, states = encoder.encode_documents([[5, 6, 7], [8, 9]]), encoder.encode_questions([[5, 6], [9, 4, 3]])

    def scores() -> torch.Tensor:
        return method.matching.logits(inner_products(encoder.queries(states), encoder.keys(memories)))

    exact = scores()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(scores(), exact)
