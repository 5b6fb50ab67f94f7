"""Decoding must not depend on batching, padding or the cache; beams are checked by enumeration and a library."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import DynamicCache, GenerationConfig
from transformers.utils import ModelOutput

from cmt_cli.core import key_values
from cmt_cli.core.beam_search import Beams, diverse_beams, extend
from cmt_cli.core.decoding import Decoding, continued, decode, top_k_choice, until
from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.core.stream import Prompt
from cmt_cli.core.tokens import left_padded

SENTENCES = [
    "Where does Ada work?",
    "Yes",
    "The bridge over the river was opened on 4 May 2019.",
    "A name, a place",
    "In",
]

Ranked = list[tuple[tuple[int, ...], float]]


def decoding(**changes: object) -> Decoding:
    settings: dict[str, Any] = {
        "max_new_tokens": 8,
        "batch_size": 8,
        "num_beams": 1,
        "num_beam_groups": 1,
        "diversity_penalty": 0.0,
    }
    return Decoding(**{**settings, **changes})


def encoded(learner: Learner) -> list[list[int]]:
    return [learner.prompt_ids(sentence) for sentence in SENTENCES]


def run(
    learner: Learner, prompts: list[list[int]], settings: Decoding, eos_id: int, prefix: Prefix | None = None
) -> list[list[int]]:
    ids, mask = left_padded(prompts, learner.pad_id)
    with torch.no_grad():
        return decode(learner.model, torch.tensor(ids), torch.tensor(mask), prefix, settings, (eos_id,))


def an_end_token(learner: Learner) -> int:
    """Return a token that greedy decoding emits early for some prompts: random models never emit the real one."""
    outputs = run(learner, encoded(learner), decoding(), eos_id=-1)
    candidates = [token for output in outputs for token in output[1:4]]
    return next(t for t in candidates if not all(t in output for output in outputs))


def greedy_without_cache(learner: Learner, prompt: list[int], eos_id: int, num_tokens: int) -> list[int]:
    ids = list(prompt)
    for _ in range(num_tokens):
        with torch.no_grad():
            ids.append(int(learner.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return until(ids[len(prompt) :], eos_id)


def random_prefix(learner: Learner, form: str) -> Prefix:
    generator = torch.Generator().manual_seed(1)
    if form == "embeddings":
        return Prefix(embeddings=torch.randn(len(SENTENCES), 3, learner.hidden_size, generator=generator))
    cache = DynamicCache(config=learner.model.config)
    learner.model(torch.tensor([[1, 2, 3]]), use_cache=True, **key_values.given(learner.model, cache))
    shape = (len(SENTENCES), *cache.layers[0].keys.shape[1:])
    pairs = [(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)) for _ in cache.layers]
    return Prefix(layers=tuple(pairs))


def test_greedy_equals_single_prompts_without_a_cache(any_learner: Learner) -> None:
    eos_id = an_end_token(any_learner)
    expected = [greedy_without_cache(any_learner, ids, eos_id, 8) for ids in encoded(any_learner)]
    assert run(any_learner, encoded(any_learner), decoding(), eos_id) == expected
    assert len({len(output) for output in expected}) > 1  # some end early


@pytest.mark.parametrize("form", [None, "embeddings", "layers"])
@pytest.mark.parametrize(
    "beams", [{}, {"num_beams": 4}, {"num_beams": 6, "num_beam_groups": 3, "diversity_penalty": 5.0}]
)
def test_batch_and_padding_change_no_token(any_learner: Learner, form: str | None, beams: dict[str, Any]) -> None:
    prefix = None if form is None else random_prefix(any_learner, form)
    prompts, eos_id, settings = encoded(any_learner), an_end_token(any_learner), decoding(**beams)
    together = run(any_learner, prompts, settings, eos_id, prefix)
    for i, prompt in enumerate(prompts):
        row = None if prefix is None else prefix.rows(torch.tensor([i]))
        assert run(any_learner, [prompt], settings, eos_id, row) == [together[i]]


def test_batch_size_changes_no_answer(any_learner: Learner) -> None:
    prompts = [Prompt(str(i), text) for i, text in enumerate(SENTENCES)]
    prefix = random_prefix(any_learner, "embeddings")
    answers = [any_learner.generate(prompts, decoding(batch_size=size), prefix) for size in (1, 2, 5)]
    assert answers[0] == answers[1] == answers[2]


def library_config(num_beams: int, eos_id: int | list[int]) -> GenerationConfig:
    """Return the settings of `transformers.generate` that match ours."""
    return GenerationConfig(
        num_beams=num_beams,
        early_stopping=num_beams > 1,
        length_penalty=1.0,
        max_new_tokens=8,
        do_sample=False,
        eos_token_id=eos_id,
        pad_token_id=0,
    )


@pytest.mark.parametrize("num_beams", [1, 4])
def test_end_tokens_are_alike_in_any_order(any_learner: Learner, num_beams: int) -> None:
    prompts, settings = encoded(any_learner), decoding(num_beams=num_beams)
    whole = run(any_learner, prompts, settings, eos_id=-1)
    first = whole[0][1]
    second = next(token for row in whole for token in row[1:] if token != first)
    ids, mask = (torch.tensor(rows) for rows in left_padded(prompts, any_learner.pad_id))
    with torch.no_grad():
        found = decode(any_learner.model, ids, mask, None, settings, (first, second))
        assert found == decode(any_learner.model, ids, mask, None, settings, (second, first))
    assert not {first, second} & {token for row in found for token in row}
    assert any(len(row) < 8 for row in found)


def test_every_end_token_of_the_model_ends_an_answer(any_learner: Learner) -> None:
    settings = decoding()
    whole = run(any_learner, encoded(any_learner), settings, eos_id=-1)
    turn_ends = sorted({whole[0][1], whole[2][2]})
    any_learner.model.generation_config.eos_token_id = [any_learner.eos_id, *turn_ends]
    assert any_learner.end_ids == (any_learner.eos_id, *turn_ends)
    config, expected = library_config(1, list(any_learner.end_ids)), []
    for ids in encoded(any_learner):
        found = any_learner.model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), generation_config=config
        )
        new = found[0, len(ids) :].tolist()
        ends = [i for i, token in enumerate(new) if token in any_learner.end_ids]
        expected.append((any_learner.decode(new[: ends[0]] if ends else new).strip(), bool(ends)))
    prompts = [Prompt(str(i), text) for i, text in enumerate(SENTENCES)]
    answers = [(answer.text, answer.ended) for answer in any_learner.generate(prompts, settings)]
    assert answers == expected
    assert any(ended for _, ended in answers)


@pytest.mark.parametrize("known", [None, 1, [1], [7, 1, 7]])
def test_end_tokens_begin_with_the_tokenizers(tiny_llama: Learner, known: int | list[int] | None) -> None:
    tiny_llama.model.generation_config.eos_token_id = known
    assert tiny_llama.eos_id == 1
    assert tiny_llama.end_ids == ((1, 7) if isinstance(known, list) and 7 in known else (1,))


@pytest.mark.parametrize("num_beams", [2, 5])
def test_one_group_equals_the_librarys_beam_search(any_learner: Learner, num_beams: int) -> None:
    eos_id = an_end_token(any_learner)
    config = library_config(num_beams, eos_id)
    for prompt in encoded(any_learner):
        expected = any_learner.model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), generation_config=config
        )
        ours = run(any_learner, [prompt], decoding(num_beams=num_beams), eos_id)
        assert ours == [until(expected[0, len(prompt) :].tolist(), eos_id)]


def test_top_k_draws_by_shares_of_the_likeliest_tokens() -> None:
    # the two likeliest of 0.3, 0.1, 0.2, 0.4 are tokens 0 and 3, with shares 3/7 and 4/7
    logits, rows = torch.tensor([0.3, 0.1, 0.2, 0.4]).log().expand(4, 4), torch.arange(4)
    choose = top_k_choice(torch.tensor([[0.0], [0.428], [0.429], [0.999]]), 2)
    assert choose(logits, rows, 0).tolist() == [0, 0, 3, 3]
    evenly = torch.arange(1000)[:, None] / 1000
    drawn = top_k_choice(evenly, 9)(logits[:1].expand(1000, 4), torch.arange(1000), 0)
    assert drawn.bincount(minlength=4).tolist() == pytest.approx([300, 100, 200, 400], abs=1)


def test_a_row_keeps_its_uniforms_when_others_end() -> None:
    choose = top_k_choice(torch.tensor([[0.1, 0.9], [0.9, 0.1], [0.1, 0.1]]), 2)
    logits = torch.zeros(2, 2)
    assert choose(logits, torch.tensor([0, 2]), 1).tolist() == [1, 0]


def sampled(
    learner: Learner, prompts: list[list[int]], uniforms: torch.Tensor, top_k: int, eos_id: int
) -> list[list[int]]:
    ids, mask = left_padded(prompts, learner.pad_id)
    inputs = model_inputs(learner.model, torch.tensor(ids), torch.tensor(mask), None)
    with torch.no_grad():
        choose = top_k_choice(uniforms, top_k)
        return continued(learner.model, inputs, uniforms.shape[1], end_ids=(eos_id,), choose=choose)


def sampled_without_cache(learner: Learner, prompt: list[int], uniforms: list[float], top_k: int) -> list[int]:
    ids = list(prompt)
    for uniform in uniforms:
        with torch.no_grad():
            p = learner.model(torch.tensor([ids])).logits[0, -1].softmax(dim=-1).tolist()
        likeliest = sorted(sorted(range(len(p)), key=lambda token: -p[token])[:top_k])
        total, sum_so_far = sum(p[token] for token in likeliest), 0.0
        for token in likeliest:
            sum_so_far += p[token] / total
            if uniform < sum_so_far:
                break
        ids.append(token)
    return ids[len(prompt) :]


def test_samples_equal_single_prompts_without_a_cache(any_learner: Learner) -> None:
    prompts = encoded(any_learner)
    uniforms = torch.rand(len(prompts), 8, generator=torch.Generator().manual_seed(3))
    expected = [sampled_without_cache(any_learner, *pair, 5) for pair in zip(prompts, uniforms.tolist(), strict=True)]
    eos_id = expected[1][2]  # ends some rows early, so that they leave the batch
    together = sampled(any_learner, prompts, uniforms, 5, eos_id)
    assert together == [until(ids, eos_id) for ids in expected]
    for i, prompt in enumerate(prompts):
        assert sampled(any_learner, [prompt], uniforms[i : i + 1], 5, eos_id) == [together[i]]


def test_sampling_of_one_token_is_greedy(any_learner: Learner) -> None:
    prompts, eos_id = encoded(any_learner), an_end_token(any_learner)
    uniforms = torch.rand(len(prompts), 8, generator=torch.Generator().manual_seed(0))
    assert sampled(any_learner, prompts, uniforms, 1, eos_id) == run(any_learner, prompts, decoding(), eos_id)


class TableModel:
    """A language model by table: log p(next token | number of tokens so far, last token)."""

    def __init__(self, vocab: int, seed: int) -> None:
        logits = torch.randn(12, vocab, vocab, generator=torch.Generator().manual_seed(seed))
        self.log_p = (2 * logits).log_softmax(dim=-1)

    def forward(
        self,
        *,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        cache: SimpleNamespace | None = None,
        **_: object,
    ) -> ModelOutput:
        cache = cache or SimpleNamespace(batch_repeat_interleave=lambda n: None, reorder_cache=lambda i: None)
        return ModelOutput(logits=self.log_p[attention_mask.shape[1], input_ids], cache=cache)

    __call__ = forward

    def score(self, ids: tuple[int, ...]) -> float:
        """Return the log-probability of all but the first token, which is the prompt."""
        return sum(float(self.log_p[i, ids[i - 1], ids[i]]) for i in range(1, len(ids)))


def best_by_enumeration(model: TableModel, vocab: int, first: int, max_new: int) -> list[int]:
    """Return the sequence of highest mean log-probability among all that end, or have the largest length."""
    eos_id = vocab - 1
    scored: dict[tuple[int, ...], float] = {}
    for length in range(1, max_new + 1):
        for sequence in itertools.product(range(vocab), repeat=length):
            whole = eos_id not in sequence[:-1] and (sequence[-1] == eos_id or length == max_new)
            if whole:
                scored[sequence] = model.score((first, *sequence)) / length
    best = max(scored, key=lambda sequence: scored[sequence])
    return until(list(best), eos_id)


@pytest.mark.parametrize("seed", range(5))
def test_wide_beams_find_the_best_of_all_sequences(seed: int) -> None:
    model, prompts = TableModel(5, seed), torch.tensor([[1], [3]])
    settings = decoding(num_beams=64, max_new_tokens=3)
    found = diverse_beams(model, prompts, torch.ones_like(prompts), None, settings, (4,))
    assert found == [best_by_enumeration(model, 5, first, 3) for first in (1, 3)]


def test_later_beam_groups_avoid_the_tokens_of_earlier_ones() -> None:
    # one step, 4 tokens; a group of one beam takes the likeliest token that no earlier group has taken
    settings = decoding(num_beams=3, num_beam_groups=3, diversity_penalty=10.0, max_new_tokens=2)
    beams = Beams.start(1, settings, 3, torch.device("cpu"))
    log_p = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(1, 3, 1, 4)
    diverse, parents = extend(beams, log_p, penalty=10.0, end_ids=(3,), last=False)
    assert diverse.tokens.flatten().tolist() == [0, 1, 2]
    torch.testing.assert_close(diverse.scores.flatten(), torch.tensor([0.4, 0.3, 0.2]).log())
    assert parents.flatten().tolist() == [0, 1, 2]
    equal, _ = extend(beams, log_p, penalty=0.0, end_ids=(3,), last=False)
    assert equal.tokens.flatten().tolist() == [0, 0, 0]


def test_beam_groups_without_a_penalty_equal_plain_beam_search(any_learner: Learner) -> None:
    eos_id, prompts = an_end_token(any_learner), encoded(any_learner)
    groups = decoding(num_beams=12, num_beam_groups=4)
    assert run(any_learner, prompts, groups, eos_id) == run(any_learner, prompts, decoding(num_beams=3), eos_id)


def diverse_by_lists(model: TableModel, vocab: int, first: int, settings: Decoding) -> list[int]:
    """Diverse beam search for one prompt, written plainly over Python lists."""
    width, eos_id, penalty = settings.num_beams // settings.num_beam_groups, vocab - 1, settings.diversity_penalty
    # of each group: tokens, score with penalties
    running: list[Ranked] = [[((first,), 0.0)] for _ in range(settings.num_beam_groups)]
    ended: list[Ranked] = [[] for _ in running]
    for step in range(settings.max_new_tokens):
        said: list[int] = []
        for g in range(settings.num_beam_groups):
            if len(ended[g]) == width:
                continue
            grown: Ranked = []
            for ids, score in running[g]:
                for token in range(vocab):
                    gain = float(model.log_p[len(ids), ids[-1], token]) - penalty * said.count(token)
                    grown.append(((*ids, token), score + gain))
            grown = sorted(grown, key=lambda pair: -pair[1])[: 2 * width]
            last = step + 1 == settings.max_new_tokens
            closed = [(ids, score / (step + 1)) for ids, score in grown[:width] if last or ids[-1] == eos_id]
            ended[g] = sorted(ended[g] + closed, key=lambda pair: -pair[1])[:width]
            running[g] = [pair for pair in grown if pair[0][-1] != eos_id][:width]
            said += [ids[-1] for ids, _ in running[g]]
    best = max((pair for group in ended for pair in group), key=lambda pair: pair[1])
    return until(list(best[0][1:]), eos_id)


@pytest.mark.parametrize("penalty", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("seed", range(5))
def test_diverse_beams_equal_a_plain_implementation(seed: int, penalty: float) -> None:
    model = TableModel(9, seed)
    settings = decoding(num_beams=6, num_beam_groups=3, diversity_penalty=penalty, max_new_tokens=6)
    prompts = torch.arange(8)[:, None]
    found = diverse_beams(model, prompts, torch.ones_like(prompts), None, settings, (8,))
    assert found == [diverse_by_lists(model, 9, first, settings) for first in range(8)]


def test_text_after_the_stop_text_is_dropped() -> None:
    assert decoding(stop_text="\n").clean("\n Paris\nQuestion: Where?") == "Paris"
    assert decoding(stop_text=None).clean(" Paris\nQuestion: Where?") == "Paris\nQuestion: Where?"
    assert decoding(stop_text="\n").clean("  ") == ""


def test_an_answer_ends_by_end_token_or_stop_text() -> None:
    settings = decoding(max_new_tokens=8, stop_text="\n")
    assert settings.has_ended("Paris", 7)
    assert not settings.has_ended("Paris is the capital of", 8)
    assert settings.has_ended("Paris\n", 8)
    assert not settings.has_ended("\n\n Paris is", 8)
    assert not decoding(max_new_tokens=8, stop_text=None).has_ended("Paris\nQuestion:", 8)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_answers_tell_whether_the_end_token_was_generated(
    any_learner: Learner, monkeypatch: pytest.MonkeyPatch, num_beams: int
) -> None:
    prompts, settings = [Prompt(str(i), text) for i, text in enumerate(SENTENCES)], decoding(num_beams=num_beams)
    any_learner.model.generation_config.eos_token_id = None
    found = set()
    for eos_id in {ids[0] for ids in run(any_learner, encoded(any_learner), settings, eos_id=-1)}:
        monkeypatch.setattr(Learner, "eos_id", eos_id)
        expected = []
        for ids in encoded(any_learner):
            whole = any_learner.model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids)),
                generation_config=library_config(num_beams, eos_id),
            )
            expected.append(eos_id in whole[0, len(ids) :].tolist())
        assert [answer.ended for answer in any_learner.generate(prompts, settings)] == expected
        found |= set(expected)
    assert found == {False, True}


@pytest.mark.parametrize("wrong", [{"num_beams": 4, "num_beam_groups": 3}, {"batch_size": 0}, {"max_new_tokens": 0}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="num_beams a multiple"):
        decoding(**wrong)
