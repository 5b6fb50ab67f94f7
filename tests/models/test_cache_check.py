"""A model whose cache loses what was read must be refused at load; recurrent layers that work must answer alike."""

from __future__ import annotations

import pytest
import torch

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Prompt
from cmt_cli.models.cache_check import check_cache
from tests.models.shapes import NO_CACHE, PLACES, RECURRENT, random_learner, shaped_config

TEXTS = ["Where does Ada work?", "Yes", "The bridge over the river was opened on 4 May 2019.", "In", "A name, a place"]


@pytest.mark.parametrize("kind", [*PLACES, *RECURRENT])
def test_models_with_a_right_cache_pass(kind: str) -> None:
    check_cache(random_learner(shaped_config(kind)).model)


@pytest.mark.parametrize("kind", ["mistral", "lfm2"])
def test_half_precision_passes(kind: str) -> None:
    check_cache(random_learner(shaped_config(kind)).model.to(torch.bfloat16))


@pytest.mark.parametrize("kind", NO_CACHE)
def test_models_with_a_wrong_cache_are_refused_by_type(kind: str) -> None:
    with pytest.raises(UserError, match=rf"type '{kind}' cannot be used .* with a cache, it.*model\.name_or_path"):
        check_cache(random_learner(shaped_config(kind)).model)


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_models_answer_alike_in_any_batch(kind: str, num_beams: int) -> None:
    learner = random_learner(shaped_config(kind))
    prompts = [Prompt(text, text) for text in TEXTS]
    settings = Decoding(max_new_tokens=8, batch_size=5, num_beams=num_beams, num_beam_groups=1, diversity_penalty=0.0)
    free = learner.generate(prompts, settings)
    ends = learner.encode(free[0].text)[1]  # some rows end early and leave the batch
    learner.model.generation_config.eos_token_id = ends
    assert learner.generate(prompts, settings) == [learner.generate([prompt], settings)[0] for prompt in prompts]


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_models_score_choices_alike_in_any_batch(kind: str) -> None:
    learner = random_learner(shaped_config(kind))
    pairs = [(Prompt(text, text), choice) for text in TEXTS for choice in (" Lagos", " in Turin", " no")]
    together = learner.loglikelihood([prompt for prompt, _ in pairs], [choice for _, choice in pairs])
    alone = [learner.loglikelihood([prompt], [choice])[0] for prompt, choice in pairs]
    assert together == pytest.approx(alone, abs=1e-3)


def test_weights_that_are_not_finite_are_called_damaged() -> None:
    model = random_learner(shaped_config("mistral")).model
    torch.nn.init.constant_(model.get_input_embeddings().weight, float("nan"))
    with pytest.raises(UserError, match="not finite: its weights are damaged"):
        check_cache(model)
