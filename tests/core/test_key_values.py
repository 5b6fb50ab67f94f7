"""Keys and values go to a model under the name that its forward pass has."""

import warnings
from typing import Any

import pytest
import torch
from transformers.utils import ModelOutput

from cmt_cli.core import key_values
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import Prefix
from cmt_cli.core.stream import Prompt


class Newer:
    def forward(self, input_ids: Any = None, cache: Any = None, **kwargs: Any) -> None: ...


class Older:
    def forward(self, input_ids: Any = None, past_key_values: Any = None, **kwargs: Any) -> None: ...


class Swallows:
    def forward(self, input_ids: Any = None, **kwargs: Any) -> None: ...


def test_the_argument_is_named_as_in_the_forward_pass() -> None:
    assert key_values.given(Newer(), "kv") == {"cache": "kv"}
    assert key_values.given(Older(), "kv") == {"past_key_values": "kv"}


def test_a_model_that_would_swallow_a_cache_is_refused() -> None:
    with pytest.raises(UserError, match=r"Swallows\.forward takes no keys and values"):
        key_values.given(Swallows(), "kv")


def test_either_name_of_an_output_is_read() -> None:
    assert key_values.returned(ModelOutput(logits=1, cache="kv")) == "kv"
    assert key_values.returned({"past_key_values": "kv"}) == "kv"
    with pytest.raises(UserError, match="no keys and values"):
        key_values.returned(ModelOutput(logits=1))


def test_a_wrapped_forward_is_looked_through() -> None:
    model = Newer()
    model.forward = lambda *arguments, **named: None  # type: ignore[method-assign]
    assert key_values.given(model, "kv") == {"cache": "kv"}


@pytest.mark.parametrize("num_beams", [1, 2])
def test_answering_behind_a_prefix_warns_of_nothing(any_learner: Learner, num_beams: int) -> None:
    decoding = Decoding(
        max_new_tokens=3, batch_size=2, num_beams=num_beams, num_beam_groups=num_beams, diversity_penalty=0.5
    )
    ids = torch.tensor([[5, 6]])
    prompts = [Prompt("a", "Who?")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = any_learner.model(ids, use_cache=True)
        prefix = Prefix(layers=tuple((layer.keys, layer.values) for layer in key_values.returned(out).layers))
        assert len(any_learner.generate(prompts, decoding, prefix)) == 1
        any_learner.loglikelihood(prompts * 2, [" a b", " c d"])
