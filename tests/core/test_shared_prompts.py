"""Choices scored behind one reading of their question: the same numbers as each behind a reading of its own."""

from __future__ import annotations

import pytest
import torch

from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.layers.pooled_prompts import Pool
from cmt_cli.layers.prefixes import PrefixKeyValues
from cmt_cli.layers.prompts import SoftPrompt

TEXTS = ["Where?", "Where does Ada Lovelace work in the year 1987?", "Yes or no, please:"]
CHOICES = [" yes", " no", " the mayor of Turin did", " a", " in London"]
SOURCES = [
    SoftPrompt(num_virtual=3, text=None, num_common=300, seed=0),
    PrefixKeyValues(num_virtual=3, reparametrization=None, num_common=300, seed=0),
    Pool(num_prompts=4, num_virtual=2, num_chosen=2, num_common=300, seed=0),
]


def asked() -> tuple[list[Prompt], list[str]]:
    """Every choice of every question but the last, which has one."""
    pairs = [(Prompt(text, text), choice) for text in TEXTS[:-1] for choice in CHOICES]
    pairs.append((Prompt(TEXTS[-1], TEXTS[-1]), CHOICES[0]))
    return [prompt for prompt, _ in pairs], [choice for _, choice in pairs]


def one_by_one(learner: Learner) -> list[float]:
    return [learner.loglikelihood([prompt], [choice])[0] for prompt, choice in zip(*asked(), strict=True)]


@pytest.mark.parametrize("most_tokens", [4096, 100, 1], ids=["one batch", "some rows a pass", "one row a pass"])
def test_choices_that_share_a_prompt_score_as_each_alone(
    any_learner: Learner, monkeypatch: pytest.MonkeyPatch, most_tokens: int
) -> None:
    expected = one_by_one(any_learner)
    monkeypatch.setattr("cmt_cli.core.learner.SCORING_TOKENS", most_tokens)
    assert any_learner.loglikelihood(*asked()) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)
def test_a_trained_prefix_stands_before_the_shared_prompt(tiny_llama: Learner, source: SoftPrompt) -> None:
    plain = one_by_one(tiny_llama)
    generator = torch.Generator().manual_seed(1)
    for parameter in source.apply(tiny_llama):
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    expected = one_by_one(tiny_llama)
    assert tiny_llama.loglikelihood(*asked()) == pytest.approx(expected, abs=1e-4)
    assert expected != pytest.approx(plain, abs=1e-2)


def test_a_long_prompt_is_truncated_alike_for_all_choices(tiny_llama: Learner) -> None:
    text = "word " * tiny_llama.max_tokens
    prompts, alone = [Prompt("long", text)] * len(CHOICES), []
    for choice in CHOICES:
        alone += tiny_llama.loglikelihood([Prompt("long", text)], [choice])
    assert tiny_llama.loglikelihood(prompts, CHOICES) == pytest.approx(alone, abs=1e-4)


def test_a_prompt_is_read_once_for_all_its_continuations(tiny_llama: Learner) -> None:
    read: list[int] = []
    hook = tiny_llama.model.register_forward_pre_hook(
        lambda model, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    prompt = Prompt(TEXTS[1], TEXTS[1])
    tiny_llama.loglikelihood([prompt] * len(CHOICES), CHOICES)
    hook.remove()
    longest = max(len(tiny_llama.encode(choice)) for choice in CHOICES)
    assert read == [len(tiny_llama.prompt_ids(TEXTS[1])), len(CHOICES) * longest]
