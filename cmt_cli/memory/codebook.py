"""A vector-quantized codebook with a straight-through gradient and usage counts.

Katraouras & Rafailidis 2026 (MBC, arXiv 2601.00756), after van den Oord, Vinyals & Kavukcuoglu 2017 (arXiv 1711.00937):
every memory token z is replaced by its nearest code e (squared L2), with

    L_vq = mean (sg[z] - e)^2 + commitment * mean (z - sg[e])^2

The codes are trained by that loss. An exponential moving average of how often each code is chosen only says which ones
are unused; these are overwritten by vectors of the current batch. The averages start at 0, so the first steps fill the
codebook from data. In agreement with the authors' code the average is of counts per step, and a refilled code gets the
mean of all averages. Deviation: usage is tracked and codes are reset by explicit calls, once per optimizer step, so
that the micro-batch size does not change the result; the authors do both inside each forward pass in training mode.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmt_cli.memory.kmeans import nearest


class Codebook(nn.Module):
    """`num_codes` vectors `[num_codes, width]`, which start uniform in (-1 / num_codes, 1 / num_codes)."""

    usage: Tensor

    def __init__(
        self, *, num_codes: int, width: int, commitment: float, decay: float, generator: torch.Generator
    ) -> None:
        """Draw the codes from `generator`; `decay` is that of the usage average, per call of `track`."""
        super().__init__()
        self.commitment, self.decay = commitment, decay
        uniform = torch.rand(num_codes, width, generator=generator, device=generator.device)
        self.codes = nn.Parameter((2 * uniform - 1) / num_codes)
        self.register_buffer("usage", torch.zeros(num_codes, device=generator.device))

    @property
    def num_codes(self) -> int:
        """Return the number of codes."""
        return len(self.codes)

    def quantize(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return code numbers `[batch, tokens]`, quantized vectors `[batch, tokens, width]` and the scalar L_vq.

        The quantized vectors equal the codes up to rounding; their gradient passes to `vectors` (same shape) unchanged.
        """
        numbers = self.encode(vectors)
        chosen = self.decode(numbers)
        loss = nn.functional.mse_loss(chosen, vectors.detach())
        loss = loss + self.commitment * nn.functional.mse_loss(vectors, chosen.detach())
        return numbers, vectors + (chosen - vectors).detach(), loss

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Tensor:
        """Return the numbers `[...]` of the codes nearest to vectors `[..., width]`; of equally near ones the first."""
        flat = vectors.reshape(-1, vectors.shape[-1])
        # in float64 a near tie does not fall differently in another batch
        return nearest(flat.double(), self.codes.double())[0].reshape(vectors.shape[:-1])

    def decode(self, numbers: Tensor) -> Tensor:
        """Return the codes `[..., width]` with these numbers `[...]`."""
        return nn.functional.embedding(numbers, self.codes)

    def histogram(self, numbers: Tensor) -> Tensor:
        """Return how often each code occurs in `numbers` `[...]`, as `[num_codes]` of int64."""
        return torch.bincount(numbers.flatten(), minlength=self.num_codes)

    @torch.no_grad()
    def track(self, numbers: Tensor) -> None:
        """Fold one step's code numbers `[...]` into the usage average."""
        self.usage.mul_(self.decay).add_(self.histogram(numbers), alpha=1 - self.decay)

    @torch.no_grad()
    def reset_unused(self, vectors: Tensor, *, threshold: float, generator: torch.Generator) -> int:
        """Overwrite codes whose usage is below `threshold` by distinct random vectors `[..., width]`; return how many.

        Where there are fewer vectors than unused codes, the first codes are served. `generator` is a CPU generator.
        """
        flat = vectors.detach().reshape(-1, vectors.shape[-1])
        unused = (self.usage < threshold).nonzero().flatten()[: len(flat)]
        chosen = torch.randperm(len(flat), generator=generator)[: len(unused)].to(flat.device)
        self.codes[unused] = flat[chosen].to(self.codes.dtype)
        self.usage[unused] = self.usage.mean()
        return len(unused)
