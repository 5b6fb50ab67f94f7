"""Codecs: what they cost in bytes, what they lose, and that documents stay distinguishable."""

import pytest
import torch
from torch import Tensor

from cmt_cli.core.exceptions import UserError
from cmt_cli.memory.kmeans import kmeans
from cmt_cli.memory.quantization import FloatCodec, Int8Codec, ProductQuantizer, check_dtype, principal_directions


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def memories(num: int, tokens: int, width: int, *, decay: float, seed: int) -> Tensor:
    """Return `[num, tokens, width]` with variance 1 / i^(2 decay) along direction i and a mean for each token."""
    directions = torch.linalg.qr(torch.randn(width, width, generator=seeded(99))).Q
    scales = torch.arange(1, width + 1).float() ** -decay
    means = torch.randn(tokens, width, generator=seeded(98))
    return (torch.randn(num, tokens, width, generator=seeded(seed)) * scales) @ directions + means


def relative_error(stored: Tensor, original: Tensor) -> float:
    centered = original - original.mean(dim=0)
    return float((stored - original).square().sum() / centered.square().sum())


def test_float32_is_exact_and_bfloat16_keeps_eight_bits() -> None:
    vectors = torch.randn(3, 2, 5, generator=seeded())
    exact, half = FloatCodec(2, 5, torch.float32), FloatCodec(2, 5, torch.bfloat16)
    assert torch.equal(exact.decode(exact.encode(vectors)), vectors)
    assert exact.encode(vectors).shape == (3, 40) and half.encode(vectors).shape == (3, 20)
    assert torch.equal(half.decode(half.encode(vectors)), vectors.bfloat16().float())


def test_int8_rounds_to_a_127th_of_each_tokens_maximum() -> None:
    codec = Int8Codec(2, 3)
    vectors = torch.tensor([[[127.0, -63.4, 0.2], [0.0, 0.0, 0.0]]])
    assert codec.row_bytes == 2 * (3 + 4)
    assert codec.decode(codec.encode(vectors)).tolist() == [[[127.0, -63.0, 0.0], [0.0, 0.0, 0.0]]]


@pytest.mark.parametrize("codec", [FloatCodec(3, 5, torch.bfloat16), Int8Codec(3, 5)])
def test_encoding_does_not_depend_on_the_batch(codec: FloatCodec | Int8Codec) -> None:
    vectors = torch.randn(7, 3, 5, generator=seeded())
    assert torch.equal(torch.cat([codec.encode(v[None]) for v in vectors]), codec.encode(vectors))
    assert codec.decode(codec.encode(vectors[:0])).shape == (0, 3, 5)


def test_product_quantization_does_not_depend_on_the_batch() -> None:
    vectors = memories(300, 4, 32, decay=1, seed=0)
    quantizer = ProductQuantizer.train(vectors, 4, seeded())
    assert torch.equal(torch.cat([quantizer.encode(v[None]) for v in vectors]), quantizer.encode(vectors))


def test_the_same_seed_trains_the_same_codebooks() -> None:
    vectors = memories(200, 4, 32, decay=1, seed=0)
    first, second = (ProductQuantizer.train(vectors, 4, seeded(3)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_state_round_trips() -> None:
    vectors = memories(100, 2, 16, decay=1, seed=0)
    quantizer = ProductQuantizer.train(vectors, 2, seeded())
    again = ProductQuantizer.from_state(quantizer.state_dict(), torch.device("cpu"))
    assert torch.equal(again.decode(again.encode(vectors)), quantizer.decode(quantizer.encode(vectors)))


def test_principal_directions_are_the_leading_eigenvectors() -> None:
    vectors = torch.randn(400, 12, generator=seeded()) * torch.arange(12, 0, -1)
    vectors = vectors - vectors.mean(dim=0)
    expected = torch.linalg.eigh(vectors.T @ vectors).eigenvectors.flip(1)[:, :3]
    found = principal_directions(vectors, 3, seeded())
    assert torch.allclose((found.T @ expected).abs(), torch.eye(3), atol=1e-3)


def test_residual_stages_lose_less_than_one_of_equal_bytes() -> None:
    train, fresh = memories(1500, 4, 64, decay=1, seed=0), memories(200, 4, 64, decay=1, seed=1)
    four = ProductQuantizer.train(train, 8, seeded())
    assert four.codebooks.shape[:2] == (4, 2)
    one = ProductQuantizer(four.mean, four.basis, one_stage(train, four, num_subspaces=8))
    assert one.row_bytes == four.row_bytes
    losses = [relative_error(pq.decode(pq.encode(fresh)), fresh) for pq in (four, one)]
    assert losses[0] < 0.75 * losses[1]


def one_stage(train: Tensor, fitted: ProductQuantizer, num_subspaces: int) -> Tensor:
    reduced = ((train - fitted.mean) @ fitted.basis).flatten(0, 1)
    parts = reduced.chunk(num_subspaces, dim=1)
    return torch.stack([kmeans(part, 256, num_iterations=15, generator=seeded()) for part in parts])[None]


@pytest.mark.parametrize(("tokens", "width", "bytes_per_token"), [(24, 4096, 8), (8, 192, 24)], ids=["llama2", "tiny"])
def test_at_most_256_bytes_still_tell_documents_apart(tokens: int, width: int, bytes_per_token: int) -> None:
    # flat spectrum: the hardest case, nothing to gain from principal directions
    generator = seeded()
    train, fresh = (torch.randn(n, tokens, width, generator=generator) for n in (120, 60))
    quantizer = ProductQuantizer.train(train, bytes_per_token, seeded())
    codes = quantizer.encode(fresh)
    assert quantizer.row_bytes == codes.shape[1] <= 256
    stored, originals = quantizer.decode(codes).flatten(1), fresh.flatten(1)
    # of all stored memories, each document's own is the nearest to what was stored
    assert torch.cdist(originals, stored).argmin(dim=1).tolist() == list(range(60))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'bfloat16'"):
        check_dtype("bfloat")
    with pytest.raises(UserError, match="fewer bytes"):
        ProductQuantizer.train(torch.randn(10, 2, 4, generator=seeded()), 32, seeded())
