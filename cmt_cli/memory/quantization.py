"""Codecs that turn memories and keys into bytes and back: float32, bfloat16, int8 and product quantization.

Product quantization: Jegou, Douze & Schmid 2011 (IEEE TPAMI 33(1)); residual stages: Chen, Guan & Wang 2010 (Sensors
10(12)). A vector x of token slot t becomes r = (x - mean_t) B, with B the leading principal directions of the training
vectors; r is split into subspaces, each a sum of codes, one per stage, and every stage codes what the former left.
Choices, from the reconstruction error on vectors with variance 1 / i^(2a) along direction i, a in {0, 0.5, 1}:
`rank` = 4 x bytes per token, and four stages, were best or near the best of all (width 1,024, 8 bytes, a = 1: relative
squared error 0.046, against 0.183 for plain product quantization) at a twentieth of the codebook's size.
Codes are searched in float64, so that the batch in which a vector is encoded does not decide a near tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.memory.kmeans import kmeans
from cmt_cli.memory.kmeans import nearest as nearest_centroid

NUM_CODES = 256  # one byte per code
NUM_STAGES = 4
RANK_PER_BYTE = 4
MAX_TRAINING_VECTORS = 32768  # of width 4,096 in float32: 0.5 GB
KMEANS_ITERATIONS = 15
DTYPES = ("float32", "bfloat16", "int8", "pq")


class Codec(Protocol):
    """A fixed number of bytes per row of `[tokens, width]` vectors."""

    row_bytes: int

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the bytes `[n, row_bytes]`, uint8, of vectors `[n, tokens, width]`."""

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors `[n, tokens, width]`, float32, of bytes `[n, row_bytes]`."""


class FloatCodec:
    """Store vectors as float32 (exact) or bfloat16 (rounded to 8 bits of mantissa)."""

    def __init__(self, num_tokens: int, width: int, dtype: torch.dtype) -> None:
        """Take the shape of one row and the type that its numbers are stored in."""
        self.num_tokens, self.width, self.dtype = num_tokens, width, dtype
        self.row_bytes = num_tokens * width * dtype.itemsize

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the bytes `[n, row_bytes]` of vectors `[n, tokens, width]`."""
        return vectors.to(self.dtype).flatten(1).contiguous().view(torch.uint8)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors `[n, tokens, width]`, float32."""
        return codes.reshape(-1).view(self.dtype).float().reshape(len(codes), self.num_tokens, self.width)


class Int8Codec:
    """Store each token's vector as 8-bit integers and one float32 scale, its largest magnitude over 127."""

    def __init__(self, num_tokens: int, width: int) -> None:
        """Take the shape of one row."""
        self.num_tokens, self.width = num_tokens, width
        self.row_bytes = num_tokens * (width + 4)

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the bytes `[n, row_bytes]` of vectors `[n, tokens, width]`: all scales, then all integers."""
        vectors = vectors.float()
        scales = vectors.abs().amax(dim=2, keepdim=True) / 127
        integers = (vectors / scales.clamp(min=torch.finfo(torch.float32).tiny)).round().clamp(-127, 127).to(torch.int8)
        parts = [scales.flatten(1).contiguous().view(torch.uint8), integers.flatten(1).view(torch.uint8)]
        return torch.cat(parts, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors `[n, tokens, width]`, float32."""
        split = 4 * self.num_tokens
        integers = codes[:, split:].reshape(-1).view(torch.int8).reshape(len(codes), self.num_tokens, self.width)
        scales = codes[:, :split].reshape(-1).view(torch.float32).reshape(len(codes), self.num_tokens, 1)
        return integers.float() * scales


class ProductQuantizer:
    """Store each token's vector as one byte per stage and subspace of its principal components."""

    def __init__(self, mean: Tensor, basis: Tensor, codebooks: Tensor) -> None:
        """Take mean `[tokens, width]`, basis `[width, rank]`, codebooks `[stages, subspaces, codes, width of one]`."""
        self.mean, self.basis, self.codebooks = mean, basis, codebooks
        self.num_tokens, self.width = mean.shape
        self.num_stages, self.num_subspaces = codebooks.shape[:2]
        self.row_bytes = self.num_tokens * self.num_stages * self.num_subspaces

    @classmethod
    def train(cls, vectors: Tensor, bytes_per_token: int, generator: torch.Generator) -> ProductQuantizer:
        """Fit the mean, the principal directions and the codebooks to sample vectors `[n, tokens, width]`.

        `generator` is a CPU generator. Codebooks of a sample of fewer vectors than codes fit that sample and no other.
        """
        width = vectors.shape[2]
        num_stages = next(s for s in (NUM_STAGES, 2, 1) if bytes_per_token % s == 0)
        num_subspaces = bytes_per_token // num_stages
        rank = min(width, RANK_PER_BYTE * bytes_per_token) // num_subspaces * num_subspaces
        if rank == 0:
            raise UserError(
                f"{bytes_per_token} bytes per token are more than product quantization can use for width {width}. Give "
                "fewer bytes per token, or store the memories as int8."
            )
        vectors = vectors.float()
        mean = vectors.mean(dim=0)
        sample = (vectors - mean).reshape(-1, width)
        if len(sample) > MAX_TRAINING_VECTORS:
            chosen = torch.randperm(len(sample), generator=generator)[:MAX_TRAINING_VECTORS]
            sample = sample[chosen.to(sample.device)]
        basis = principal_directions(sample, rank, generator)
        codebooks = _train_codebooks(sample @ basis, num_stages, num_subspaces, generator)
        return cls(mean, basis, codebooks)

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the codes `[n, tokens * stages * subspaces]`, uint8, of vectors `[n, tokens, width]`."""
        reduced = (vectors.double() - self.mean.double()) @ self.basis.double()
        rest = reduced.reshape(-1, self.basis.shape[1]).chunk(self.num_subspaces, dim=1)
        codes = []
        for stage in self.codebooks.double():
            indices = [nearest_centroid(part, book)[0] for part, book in zip(rest, stage, strict=True)]
            rest = tuple(part - book[i] for part, book, i in zip(rest, stage, indices, strict=True))
            codes.append(torch.stack(indices, dim=1))
        return torch.cat(codes, dim=1).to(torch.uint8).reshape(len(vectors), self.row_bytes)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors `[n, tokens, width]`, float32, that the codes stand for."""
        indices = codes.reshape(len(codes) * self.num_tokens, self.num_stages, self.num_subspaces).long()
        stages = torch.arange(self.num_stages, device=codes.device)[:, None]
        subspaces = torch.arange(self.num_subspaces, device=codes.device)
        reduced = self.codebooks[stages, subspaces, indices].sum(dim=1).flatten(1)
        return (reduced @ self.basis.T).reshape(len(codes), self.num_tokens, self.width) + self.mean

    def state_dict(self) -> dict[str, Tensor]:
        """Return the fitted tensors by name."""
        return {"mean": self.mean, "basis": self.basis, "codebooks": self.codebooks}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], device: torch.device) -> ProductQuantizer:
        """Rebuild a quantizer from `state_dict`."""
        return cls(*(state[name].to(device) for name in ("mean", "basis", "codebooks")))


def principal_directions(vectors: Tensor, rank: int, generator: torch.Generator) -> Tensor:
    """Return the leading principal directions `[width, rank]` of centered vectors `[n, width]`, largest variance first.

    Randomized subspace iteration (Halko, Martinsson & Tropp 2011, arXiv 0909.4061) with 16 surplus directions.
    """
    width = vectors.shape[1]
    start = torch.randn(width, min(width, rank + 16), generator=generator).to(vectors.device)
    basis = torch.linalg.qr(start).Q
    for _ in range(6):
        basis = torch.linalg.qr(vectors.T @ (vectors @ basis)).Q
    projected = (vectors @ basis).double()
    rotation = torch.linalg.eigh(projected.T @ projected).eigenvectors.flip(1)[:, :rank]
    return (basis.double() @ rotation).float()


def _train_codebooks(vectors: Tensor, num_stages: int, num_subspaces: int, generator: torch.Generator) -> Tensor:
    rest, stages = vectors, []
    for _ in range(num_stages):
        parts = rest.chunk(num_subspaces, dim=1)
        books = [kmeans(p, NUM_CODES, num_iterations=KMEANS_ITERATIONS, generator=generator) for p in parts]
        left = [part - book[nearest_centroid(part, book)[0]] for part, book in zip(parts, books, strict=True)]
        rest = torch.cat(left, dim=1)
        stages.append(torch.stack(books))
    return torch.stack(stages)


def untrained_codec(dtype: str, num_tokens: int, width: int) -> Codec:
    """Return the codec of a storage type that needs no training: "float32", "bfloat16" or "int8"."""
    if dtype == "int8":
        return Int8Codec(num_tokens, width)
    return FloatCodec(num_tokens, width, {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype])


def check_dtype(dtype: str) -> None:
    """Raise `UserError` for a storage type that does not exist."""
    if dtype not in DTYPES:
        allowed = ", ".join(DTYPES)
        raise UserError(
            f"The memory bank cannot store memories as '{dtype}'. Allowed: {allowed}.{nearest(dtype, DTYPES)}"
        )
