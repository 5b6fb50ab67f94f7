"""Compressors: memories do not depend on padding, long texts are segmented, the base model stays frozen."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cmt_cli.core.learner import Learner
from cmt_cli.layers.compressor import SelfCompression, T5Compression
from tests.present import present


def self_compression(**changes: Any) -> SelfCompression:
    settings = {"num_slots": 2, "rank": 2, "alpha": 2.0, "targets": "all", "max_tokens": 16, "stride": 12}
    return SelfCompression(**{**settings, **changes})


@pytest.mark.parametrize("family", ["tiny_llama", "tiny_gpt2", "tiny_qwen"])
def test_memory_does_not_depend_on_its_batch(family: str, request: pytest.FixtureRequest) -> None:
    learner = request.getfixturevalue(family)
    compressor = self_compression().build(learner, 0)
    short, long = [5, 6, 7], [8, 9, 10, 11, 12, 13, 14]
    together = compressor([short, long])
    assert torch.allclose(together[0], compressor([short])[0], atol=1e-5)
    assert torch.allclose(together[1], compressor([long])[0], atol=1e-5)


def test_gradients_reach_the_compressor_and_not_the_base_model(tiny_llama: Learner) -> None:
    compressor = self_compression().build(tiny_llama, 0)
    compressor([[5, 6, 7]]).sum().backward()
    assert present(compressor.soft_tokens.grad).abs().sum() > 0
    assert all(p.grad is None for p in tiny_llama.model.parameters())


def test_long_text_is_segmented_with_overlap_without_loss(tiny_llama: Learner) -> None:
    text = "the quick brown fox jumps over the lazy dog " * 8
    ids = tiny_llama.encode(text)
    segments = self_compression().build(tiny_llama, 0).segments(text)
    assert max(map(len, segments)) <= 16 and len(segments) > 1
    rebuilt = segments[0] + [i for segment in segments[1:] for i in segment[16 - 12 :]]
    assert rebuilt == ids


def test_t5_memory_is_masked_against_padding(tiny_llama: Learner, tmp_path: Path) -> None:
    from transformers import T5Config, T5Model

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=512, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_decoder_layers=1, num_heads=2, dropout_rate=0.0
    )
    T5Model(config).save_pretrained(tmp_path)
    tiny_llama.tokenizer.save_pretrained(tmp_path)
    settings = T5Compression(num_slots=2, name_or_path=str(tmp_path), revision=None, max_tokens=16, stride=12)
    compressor = settings.build(tiny_llama, 0).eval()
    together = compressor([[5, 6, 7], [8, 9, 10, 11, 12]])
    assert together.shape == (2, 2, tiny_llama.hidden_size)
    assert torch.allclose(together[0], compressor([[5, 6, 7]])[0], atol=1e-5)
