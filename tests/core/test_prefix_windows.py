"""Where attention counts places, a prefix must stand next to its prompt whatever is padded beside it."""

from __future__ import annotations

import functools

import pytest
import torch
from transformers import DynamicCache

from cmt_cli.core import key_values
from cmt_cli.core.decoding import Decoding, decode
from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.core.stream import Prompt
from cmt_cli.core.tokens import left_padded
from cmt_cli.layers.prefixes import PrefixKeyValues, activations
from cmt_cli.layers.prefixes import key_value_prefix as key_value_prefix_of
from tests.models.shapes import PLACES, WINDOW, random_learner, shaped_config

PROMPTS = [[31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42], [51], [61, 62, 63, 64], [71, 72]]
NUM_VIRTUAL = [3, WINDOW + 3]  # within the window, and beyond it


@functools.cache
def learner_of(kind: str) -> Learner:
    return random_learner(shaped_config(kind))


def fronts(num_virtual: int) -> torch.Tensor:
    return torch.arange(100, 100 + len(PROMPTS) * num_virtual).view(len(PROMPTS), num_virtual)


def soft_prefix(learner: Learner, num_virtual: int) -> Prefix:
    return Prefix(embeddings=learner.model.get_input_embeddings()(fronts(num_virtual)).detach())


def key_value_prefix(learner: Learner, num_virtual: int) -> Prefix:
    """Return what the model computes for tokens; all of them, where a sliding layer's cache drops the first."""
    ids, cache = fronts(num_virtual), DynamicCache()
    inputs = model_inputs(learner.model, ids, torch.ones_like(ids), None)
    with torch.no_grad():
        learner.model(**inputs, use_cache=True, **key_values.given(learner.model, cache))
    return Prefix(layers=tuple((layer.keys, layer.values) for layer in cache.layers))


FORMS = {"soft": soft_prefix, "key_value": key_value_prefix}


def first_logits(learner: Learner, prompts: list[list[int]], prefix: Prefix | None) -> torch.Tensor:
    ids, mask = left_padded(prompts, learner.pad_id)
    inputs = model_inputs(learner.model, torch.tensor(ids), torch.tensor(mask), prefix)
    with torch.no_grad():
        logits: torch.Tensor = learner.model(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]
    return logits


@pytest.mark.parametrize("num_virtual", NUM_VIRTUAL)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", PLACES)
def test_padded_rows_read_a_prefix_as_its_tokens(kind: str, form: str, num_virtual: int) -> None:
    learner = learner_of(kind)
    together = first_logits(learner, PROMPTS, FORMS[form](learner, num_virtual))
    for row, front, prompt in zip(together, fronts(num_virtual).tolist(), PROMPTS, strict=True):
        torch.testing.assert_close(row, first_logits(learner, [front + prompt], None)[0], rtol=0.0, atol=2e-4)


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("num_virtual", NUM_VIRTUAL)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", PLACES)
def test_answers_behind_a_prefix_ignore_the_batch(kind: str, form: str, num_virtual: int, num_beams: int) -> None:
    learner = learner_of(kind)
    prefix = FORMS[form](learner, num_virtual)
    settings = Decoding(max_new_tokens=10, batch_size=4, num_beams=num_beams, num_beam_groups=1, diversity_penalty=0.0)

    def answers(prompts: list[list[int]], part: Prefix) -> list[list[int]]:
        ids, mask = left_padded(prompts, learner.pad_id)
        with torch.no_grad():
            return decode(learner.model, torch.tensor(ids), torch.tensor(mask), part, settings, learner.end_ids)

    alone = [answers([prompt], prefix.rows(torch.tensor([i])))[0] for i, prompt in enumerate(PROMPTS)]
    assert answers(PROMPTS, prefix) == alone


@pytest.mark.parametrize("kind", PLACES)
def test_choices_behind_a_trained_prefix_ignore_the_batch(kind: str) -> None:
    learner = random_learner(shaped_config(kind))
    PrefixKeyValues(num_virtual=4, reparametrization=8, num_common=100, seed=0).apply(learner)
    texts = ["Where does Ada work? The bridge opened in 2019.", "Yes or no?"]
    pairs: list[tuple[Prompt, str]] = [(Prompt(t, t), choice) for t in texts for choice in (" Lagos", " in Turin")]
    together = learner.loglikelihood([p for p, _ in pairs], [t for _, t in pairs])
    alone = [learner.loglikelihood([prompt], [target])[0] for prompt, target in pairs]
    assert together == pytest.approx(alone, abs=1e-3)


def test_a_prefix_beyond_the_window_keeps_its_start() -> None:
    learner = random_learner(shaped_config("gemma2"))
    tokens = list(range(100, 100 + WINDOW + 3))
    prefix = key_value_prefix_of(activations(learner, tokens), 1)
    torch.testing.assert_close(
        first_logits(learner, [[61, 62, 63]], prefix),
        first_logits(learner, [[*tokens, 61, 62, 63]], None),
        rtol=0.0,
        atol=2e-4,
    )
