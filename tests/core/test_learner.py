"""A learner turns text into rows and batches, scores targets and carries what was trained."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cmt_cli.core.batch import Row
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.prefix import Prefix
from cmt_cli.core.prompt_format import collected_cuts
from cmt_cli.core.stream import Document, Example, Prompt
from tests.models.checkpoints import byte_level_tokenizer, sentencepiece_like_tokenizer, spanning_tokenizer

GREEDY = Decoding(max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
QUESTION = Example("q", "Question: Where does Ada Lovelace work?\nAnswer:", " London", references=("London",))


def with_tokenizer(learner: Learner, tokenizer: object, max_tokens: int = 128) -> Learner:
    return Learner(learner.model, tokenizer, name="tiny", revision="test", max_tokens=max_tokens)


def test_the_target_is_the_answer_and_the_end_token(any_learner: Learner) -> None:
    (row,) = any_learner.rows(QUESTION)
    prompt, target = row.input_ids[: row.num_prompt_tokens], row.input_ids[row.num_prompt_tokens :]
    assert list(prompt) == any_learner.prompt_ids(QUESTION.prompt)
    assert any_learner.decode(target) == " London"
    assert target[-1] == any_learner.eos_id


@pytest.mark.parametrize("make", [lambda: byte_level_tokenizer(adds_bos=True), sentencepiece_like_tokenizer])
def test_a_row_has_one_start_token(tiny_llama: Learner, make: Callable[[], Any]) -> None:
    learner = with_tokenizer(tiny_llama, make())
    (row,) = learner.rows(QUESTION)
    bos = learner.tokenizer.bos_token_id
    assert row.input_ids.index(bos) == 0
    assert row.input_ids.count(bos) == 1
    whole = learner.tokenizer(QUESTION.prompt + QUESTION.target)["input_ids"]
    assert list(row.input_ids) == [*whole, learner.eos_id]  # exactly the tokens of running text
    assert list(row.input_ids[: row.num_prompt_tokens]) == learner.prompt_ids(QUESTION.prompt)


def test_a_token_across_the_boundary_belongs_to_the_target(tiny_gpt2: Learner) -> None:
    # " London" is one token where a space precedes it, so a prompt that ends with a space shares less with the whole.
    spaced = Example("q", QUESTION.prompt + " ", "London")
    (row,) = tiny_gpt2.rows(spaced)
    (usual,) = tiny_gpt2.rows(QUESTION)
    assert row.input_ids == usual.input_ids
    assert tiny_gpt2.decode(row.input_ids[row.num_prompt_tokens :]) == " London"


def test_a_long_prompt_loses_its_middle(tiny_llama: Learner) -> None:
    learner = with_tokenizer(tiny_llama, tiny_llama.tokenizer, max_tokens=10)
    (row,) = learner.rows(QUESTION)
    whole = tiny_llama.rows(QUESTION)[0].input_ids
    num_target = len(whole) - tiny_llama.rows(QUESTION)[0].num_prompt_tokens
    front = (9 - num_target) // 2
    assert row.input_ids == (*whole[: 1 + front], *whole[-(9 - front) :])
    assert front > 1
    assert learner.num_truncated == 1
    assert learner.decode(row.input_ids[row.num_prompt_tokens :]) == " London"


def test_a_too_long_answer_is_cut_at_its_end(tiny_gpt2: Learner) -> None:
    learner = with_tokenizer(tiny_gpt2, tiny_gpt2.tokenizer, max_tokens=6)
    (row,) = learner.rows(Example("q", "Who?", " a b c d e f g h i j"))
    assert len(row.input_ids) == 6
    assert row.num_prompt_tokens == 1
    assert learner.decode(row.input_ids[1:]).startswith(" a b")


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # with and without a start token
def test_rows_of_a_long_text_score_each_token_once(make_learner: Callable[[str], Learner], family: str) -> None:
    learner = with_tokenizer(make_learner(family), make_learner(family).tokenizer, max_tokens=16)
    text = "Mara Oduya moved from Lagos to the city of Turin in 1987 and became an engineer there."
    rows = learner.rows(Document("d", text).as_example())
    scored = [token for row in rows for token in row.input_ids[max(row.num_prompt_tokens, 1) :]]
    ids = [*learner.encode(text), learner.eos_id]
    assert len(rows) > 1
    assert all(len(row.input_ids) <= 16 and row.id == "d" for row in rows)
    assert scored == (ids if family == "llama" else ids[1:])


def test_a_long_prompt_leaves_room_for_answer_and_memory(tiny_gpt2: Learner) -> None:
    # 128 positions: 4 new tokens and 3 virtual ones fit behind any prompt
    prefix = Prefix(embeddings=torch.zeros(1, 3, tiny_gpt2.hidden_size))
    answers = tiny_gpt2.generate([Prompt("p", "long " * 200)], GREEDY, prefix)
    assert len(answers) == 1
    assert tiny_gpt2.num_truncated == 1


def test_an_empty_prompt_is_answered(any_learner: Learner) -> None:
    assert len(any_learner.generate([Prompt("p", "")], GREEDY)) == 1
    assert any_learner.generate([], GREEDY) == []


def test_collate_pads_on_the_right_and_labels_targets_only(tiny_llama: Learner) -> None:
    rows = [Row("a", (5, 6, 7), 1), Row("b", (8, 9), 1, replayed=True)]
    batch = tiny_llama.collate(rows)
    assert batch.ids == ("a", "b")
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.labels.tolist() == [[IGNORED, 6, 7], [IGNORED, 9, IGNORED]]
    assert batch.input_ids[0].tolist() == [5, 6, 7]
    assert batch.replayed.tolist() == [False, True]


def test_batches_without_targets_give_hidden_states_but_no_loss(any_learner: Learner) -> None:
    rows = [Row("a", (5, 6, 7), 3)]
    outputs = any_learner.forward(any_learner.collate(rows), hidden_states=True)
    assert outputs.kept.tolist() == []
    assert outputs.token_nll.sum() == 0
    assert outputs.hidden_states[-1].shape == (1, 3, any_learner.hidden_size)


def test_padding_beside_a_row_does_not_change_its_loss(any_learner: Learner) -> None:
    short, long = Row("a", (5, 6, 7, 8), 2), Row("b", tuple(range(20, 60)), 10)
    alone = any_learner.forward(any_learner.collate([short])).token_nll
    beside = any_learner.forward(any_learner.collate([short, long])).token_nll
    torch.testing.assert_close(beside[:1, :4], alone, rtol=0, atol=1e-5)
    assert beside[0, 4:].abs().sum() == 0


def sum_of_log_probabilities(learner: Learner, prompt: str, target: str) -> float:
    ids = torch.tensor([[*learner.prompt_ids(prompt), *learner.encode(target), learner.eos_id]])
    log_p = learner.model(ids).logits.log_softmax(dim=-1)
    start = len(learner.prompt_ids(prompt))
    return float(sum(log_p[0, t - 1, ids[0, t]] for t in range(start, ids.shape[1])))


def test_loglikelihood_sums_the_targets_tokens_in_any_batch(
    any_learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["Where?", "Where does Ada Lovelace work in the year 1987?", "Yes or no:"]
    prompts, targets = [Prompt(t, t) for t in texts], [" in London", " no", " the mayor of Turin did"]
    expected = [sum_of_log_probabilities(any_learner, t, target) for t, target in zip(texts, targets, strict=True)]
    assert any_learner.loglikelihood(prompts, targets) == pytest.approx(expected, abs=1e-3)
    monkeypatch.setattr("cmt_cli.core.learner.SCORING_TOKENS", 1)  # one row a batch
    assert any_learner.loglikelihood(prompts, targets) == pytest.approx(expected, abs=1e-3)


def test_loglikelihood_gives_each_prompt_its_own_memory(tiny_gpt2: Learner) -> None:
    prompts, targets = [Prompt("a", "Where?"), Prompt("b", "When was the bridge opened?")], [" Turin", " 2019"]
    prefix = Prefix(embeddings=torch.randn(2, 3, tiny_gpt2.hidden_size, generator=torch.Generator().manual_seed(0)))
    together = tiny_gpt2.loglikelihood(prompts, targets, prefix)
    for i in range(2):
        alone = tiny_gpt2.loglikelihood(prompts[i : i + 1], targets[i : i + 1], prefix.rows(torch.tensor([i])))
        assert alone == pytest.approx(together[i : i + 1], abs=1e-4)


def test_a_learner_is_frozen_until_it_is_unfrozen(tiny_llama: Learner) -> None:
    assert tiny_llama.trainable() == []
    names = ["model.norm.weight"]
    parameters = tiny_llama.unfreeze(names)
    assert [id(p) for p in tiny_llama.trainable()] == [id(p) for p in parameters]
    assert list(tiny_llama.state_dict()) == names


def test_state_holds_what_was_ever_unfrozen_and_restores_it(make_learner: Callable[[str], Learner]) -> None:
    learner, other = make_learner("gpt2"), make_learner("gpt2")
    learner.unfreeze()
    with torch.no_grad():
        for parameter in learner.trainable():
            parameter.add_(0.1)
    learner.model.requires_grad_(False)  # frozen again, still changed
    other.load_state_dict(learner.state_dict())
    batch = learner.collate(learner.rows(QUESTION))
    assert torch.equal(learner.forward(batch).token_nll, other.forward(batch).token_nll)
    assert other.state_dict().keys() == learner.state_dict().keys()
    with pytest.raises(KeyError, match="no_such_weight"):
        other.load_state_dict({"no_such_weight": torch.zeros(1)})


def test_training_does_not_change_a_frozen_copy(tiny_gpt2: Learner) -> None:
    tiny_gpt2.unfreeze()
    teacher = tiny_gpt2.frozen_copy()
    batch = teacher.collate(teacher.rows(QUESTION))
    before = teacher.forward(batch).token_nll
    with torch.no_grad():
        tiny_gpt2.trainable()[0].add_(1.0)
    assert torch.equal(teacher.forward(batch).token_nll, before)
    assert teacher.trainable() == []
    assert teacher.state_dict() == {}
    assert tiny_gpt2.trainable() != []


def test_half_precision_with_float32_trained_weights_learns_and_answers(any_learner: Learner) -> None:
    half = Learner(
        copy.deepcopy(any_learner.model).bfloat16(), any_learner.tokenizer, name="half", revision="", max_tokens=128
    )
    names = [name for name, parameter in half.model.named_parameters() if parameter.dim() == 2][-2:]
    trained = half.unfreeze(names)
    assert {p.dtype for p in trained} == {torch.float32}
    half.forward(half.collate(half.rows(QUESTION))).token_nll.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    full = any_learner.loglikelihood([Prompt("q", QUESTION.prompt)], [QUESTION.target])[0]
    assert half.loglikelihood([Prompt("q", QUESTION.prompt)], [QUESTION.target])[0] == pytest.approx(full, rel=0.05)
    assert len(half.generate([Prompt("q", QUESTION.prompt)], GREEDY)) == 1


def test_segments_are_the_windows_of_a_long_document(tiny_llama: Learner) -> None:
    text = "The bridge over the river was opened on 4 May 2019."
    ids = tiny_llama.encode(text)
    pieces = tiny_llama.segments(text, max_tokens=8, stride=6)
    assert pieces[0] == ids[:8]
    assert pieces[1] == ids[6:14]
    assert pieces[-1][-1] == ids[-1]
    assert tiny_llama.segments("Yes", max_tokens=8, stride=6) == [tiny_llama.encode("Yes")]


SPANNING = ("Answer:", (" Cat", " dog"))  # ": Ca" is one token of the spanning tokenizer


def spanning_learner() -> Learner:
    tokenizer = spanning_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    return Learner(LlamaForCausalLM(config), tokenizer, name="tiny", revision="test", max_tokens=64)


@pytest.mark.parametrize("choices", [SPANNING[1], ()], ids=["told", "given together"])
def test_choices_are_scored_over_the_same_text(choices: tuple[str, ...]) -> None:
    learner, text = spanning_learner(), SPANNING[0]
    read = learner.encode("Answer")
    expected = []
    for choice in SPANNING[1]:
        ids = torch.tensor([[*learner.encode(text + choice), learner.eos_id]])
        log_p = learner.model(ids).logits.log_softmax(dim=-1)
        expected.append(sum(float(log_p[0, t - 1, ids[0, t]]) for t in range(len(read), ids.shape[1])))
    prompts = [Prompt("q", text, choices)] * 2
    assert learner.loglikelihood(prompts, SPANNING[1]) == pytest.approx(expected, abs=1e-4)
    if choices:
        alone = [learner.loglikelihood([Prompt("q", text, choices)], [choice])[0] for choice in choices]
        assert alone == pytest.approx(expected, abs=1e-4)


def test_training_and_generation_read_the_prompt_that_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, (text, choices) = spanning_learner(), SPANNING
    read: list[list[int]] = []

    def decoded(model: object, ids: torch.Tensor, *rest: object) -> list[list[int]]:
        read.append(ids[0].tolist())
        return [learner.encode(": Cat")]

    monkeypatch.setattr("cmt_cli.core.learner.decode", decoded)
    (answer,) = learner.generate([Prompt("q", text, choices)], GREEDY)
    assert answer.text == "Cat"  # without the end of the prompt that was read with it
    for choice in choices:
        (row,) = learner.rows(Example("q", text, choice, choices=choices))
        assert list(row.input_ids[: row.num_prompt_tokens]) == read[0] == learner.encode("Answer")


@pytest.mark.parametrize("target", ["London", "1987"])
def test_white_space_before_an_answer_is_read_with_it(tiny_gpt2: Learner, target: str) -> None:
    (row,) = tiny_gpt2.rows(Example("q", QUESTION.prompt + " ", target))
    prompt = list(row.input_ids[: row.num_prompt_tokens])
    assert prompt == tiny_gpt2.prompt_ids(QUESTION.prompt + " ") == tiny_gpt2.encode(QUESTION.prompt)


def test_choices_of_a_cut_prompt_share_its_tokens(tiny_gpt2: Learner) -> None:
    choices = (" no", " a very long answer about the mayor of Turin")
    text = "word " * tiny_gpt2.max_tokens + "Answer:"
    rows = [tiny_gpt2.rows(Example("q", text, choice, choices=choices))[0] for choice in choices]
    assert rows[0].input_ids[: rows[0].num_prompt_tokens] == rows[1].input_ids[: rows[1].num_prompt_tokens]
    assert len(rows[1].input_ids) == tiny_gpt2.max_tokens


def test_an_instruction_survives_a_long_prompt(tiny_gpt2: Learner) -> None:
    text = "Answer yes or no. " + "word " * 200 + "Did Ada move?"
    read = tiny_gpt2.decode(tiny_gpt2.prompt_ids(text, reserve=4))
    assert read.startswith("Answer yes or no.") and read.endswith("Did Ada move?")
    assert len(tiny_gpt2.prompt_ids(text, reserve=4)) == tiny_gpt2.max_tokens - 4


def test_cut_prompts_are_named_to_who_collects_them(tiny_gpt2: Learner) -> None:
    long = "word " * 200
    with collected_cuts() as ids:
        tiny_gpt2.generate([Prompt("a", long), Prompt("b", "Who?")], GREEDY)
        tiny_gpt2.loglikelihood([Prompt("c", long), Prompt("d", "Who?")], [" a", " a"])
    tiny_gpt2.generate([Prompt("e", long)], GREEDY)
    assert ids == {"a", "c"}


def test_new_tokens_that_leave_no_room_are_refused(tiny_gpt2: Learner) -> None:
    for max_new_tokens in (tiny_gpt2.max_tokens, tiny_gpt2.max_tokens - 2):
        with pytest.raises(UserError, match=r"evaluator\.decoding\.max_new_tokens .* leaves no room"):
            tiny_gpt2.generate([Prompt("p", "Where does Ada work?")], replace(GREEDY, max_new_tokens=max_new_tokens))
    assert tiny_gpt2.generate([Prompt("p", "Hi")], replace(GREEDY, max_new_tokens=tiny_gpt2.max_tokens - 8))


def test_each_choice_can_be_generated(tiny_gpt2: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    most: dict[int, int] = {}

    def decoded(
        model: object, ids: torch.Tensor, mask: torch.Tensor, prefix: object, own: Decoding, *rest: object
    ) -> Any:
        most.update(dict.fromkeys(mask.sum(dim=1).tolist(), own.max_new_tokens))
        return [[] for _ in ids]

    monkeypatch.setattr("cmt_cli.core.learner.decode", decoded)
    label = " country of citizenship of the person"
    texts = ["Which?", "Which relation?", "Which relation is it?"]
    choices = [(" no", label), (" no",), ()]
    tiny_gpt2.generate([Prompt(t, t, c) for t, c in zip(texts, choices, strict=True)], GREEDY)
    lengths = [len(tiny_gpt2.prompt_ids(text)) for text in texts]
    assert len(tiny_gpt2.encode(label)) > GREEDY.max_new_tokens
    assert [most[n] for n in lengths] == [len(tiny_gpt2.encode(label)) + 1, 4, 4]
