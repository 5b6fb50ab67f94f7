"""MBC, memory bank compression (Katraouras and Rafailidis 2026, arXiv 2601.00756): MAC whose bank holds code numbers.

Every memory vector z is replaced by its nearest code e of a learned codebook; L = L_qa + L_vq with
L_vq = mse(sg z, e) + beta mse(z, sg e) and a straight-through gradient. Unused codes are reset to current vectors after
each step of meta-training; the codebook is frozen in the stream. A LoRA on the keys and values of the last layers is on
while the model answers.
The bank is permutation-invariant attention over C distinct vectors, so with n_c the count of code c in the bank,
sum_j exp(q k_j) v_j / sum_j exp(q k_j) = sum_c n_c exp(q k_c) v_c / sum_c n_c exp(q k_c): the aggregate is computed
exactly from the histogram, at a cost per question that does not grow with the bank.
Deliberate deviations from the released code: those of `mac`; the histogram instead of dequantizing the bank; codes are
stored as 16-bit integers; resets draw from a seeded generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.batch import Predictor, Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import ParamGroup, State
from cmt_cli.core.parameter_values import num_bytes
from cmt_cli.core.stream import Document, Prompt
from cmt_cli.layers.lora import LoraLayers
from cmt_cli.memory.codebook import Codebook
from cmt_cli.methods.amortized.amortized_method import AmortizedMethod
from cmt_cli.methods.amortized.amortized_predictor import AmortizedPredictor, Documents
from cmt_cli.methods.amortized.amortizer import AmortizerSettings, Item
from cmt_cli.methods.amortized.encoded_batch import EncodedBatch, answer_nll
from cmt_cli.methods.amortized.episodic_objective import EpisodicObjective


class Mbc(AmortizedMethod):
    """Amortized contexts over a codebook."""

    def __init__(
        self,
        *,
        parts: AmortizerSettings,
        num_codes: int,
        commitment: float,
        usage_decay: float,
        reset_below: float,
        lora_rank: int,
        lora_alpha: float,
        lora_layers: int,
        encode_batch_size: int,
        seed: int,
    ) -> None:
        """`lora_layers` counts the last decoder blocks that get the key/value LoRA; `commitment` is beta."""
        super().__init__(parts=parts, encode_batch_size=encode_batch_size, seed=seed)
        self.num_codes, self.commitment = num_codes, commitment
        self.usage_decay, self.reset_below = usage_decay, reset_below
        self.lora_rank, self.lora_alpha, self.lora_layers = lora_rank, lora_alpha, lora_layers

    @override
    def build_extra(self, learner: Learner) -> None:
        self.codebook = Codebook(
            num_codes=self.num_codes,
            width=self.amortizer.width,
            commitment=self.commitment,
            decay=self.usage_decay,
            generator=torch.Generator().manual_seed(self.seed + 50),
        ).to(learner.device)
        self.lora = LoraLayers(
            learner.model,
            rank=self.lora_rank,
            alpha=self.lora_alpha,
            targets="key_value",
            seed=self.seed + 51,
            last_layers=self.lora_layers,
        )

    @override
    def trained_modules(self) -> dict[str, nn.Module]:
        return {**super().trained_modules(), "codebook": self.codebook, "lora": self.lora}

    @override
    def objective(self, learner: Learner, items: Sequence[Item]) -> MbcObjective:
        return MbcObjective(self, learner, items)

    @override
    def open_memory(self, learner: Learner) -> None:
        self.codes: dict[str, Tensor] = {}

    @override
    def store(self, documents: Sequence[Document], segments: Sequence[int], memories: Tensor) -> None:
        """Keep the codes of each segment under its document's id."""
        codes = self.codebook.encode(memories)
        for document, segment, row in zip(documents, segments, codes.cpu().to(torch.int16), strict=True):
            self.codes[f"{document.id}#{segment}"] = row

    @override
    def memory_state(self) -> State:
        rows = list(self.codes.values())
        codes = torch.stack(rows) if rows else torch.empty(0, self.amortizer.num_slots, dtype=torch.int16)
        return {"segments": list(self.codes), "codes": codes}

    @override
    def load_memory_state(self, state: State) -> None:
        self.codes = dict(zip(state["segments"], state["codes"], strict=True))

    @override
    def storage_bytes(self) -> int:
        return num_bytes([*self.codes.values(), *self.codebook.parameters()])

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        if not self.codes:
            return AmortizedPredictor(learner, self.amortizer, _recall_nothing)
        counts = self.codebook.histogram(torch.stack(list(self.codes.values())).to(learner.device))
        return AmortizedPredictor(learner, self.amortizer, HistogramRecall(self, counts), self.lora.active)


class HistogramRecall:
    """Aggregate a bank of codes from the number of times each occurs, `counts` `[codes]`."""

    def __init__(self, method: Mbc, counts: Tensor) -> None:
        self.aggregator = method.amortizer.aggregator
        with torch.no_grad():
            self.cached = self.aggregator.project(method.codebook.codes)[None, :, None]
        self.log_counts = counts.float().log()

    def __call__(self, states: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, list[Documents]]:
        """Return memories `[batch, slots, width]`; documents cannot be told apart."""
        prior = self.log_counts.expand(len(states), -1)
        return self.aggregator(states, self.cached, prior), [()] * len(prompts)


def _recall_nothing(states: Tensor, prompts: Sequence[Prompt]) -> tuple[None, list[Documents]]:
    return None, [()] * len(prompts)


class MbcObjective(EpisodicObjective):
    """L_qa over the quantized memories plus L_vq."""

    def __init__(self, method: Mbc, learner: Learner, items: Sequence[Item]) -> None:
        super().__init__(learner, method.amortizer, items, method.seed)
        self.method = method
        self.latest = self.numbers = torch.empty(0)

    @override
    def param_groups(self) -> Sequence[ParamGroup]:
        extra = [*self.method.codebook.parameters(), *self.method.lora.parameters()]
        return [*super().param_groups(), ParamGroup([p for p in extra if p.requires_grad])]

    @override
    def terms(self, batch: EncodedBatch, micro_batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        numbers, quantized, codebook_loss = self.method.codebook.quantize(batch.memories)
        self.latest, self.numbers = batch.memories.detach(), numbers
        cached = self.amortizer.aggregator.project(quantized)
        memory = self.amortizer.aggregator(batch.states, cached[None])
        nll = self.in_chunks(self._answer_nll, micro_batch_size, memory, batch.rows)
        return {"qa": nll.sum() / batch.num_target_tokens, "codebook": codebook_loss}

    def _answer_nll(self, memory: Tensor, rows: Sequence[Row]) -> Tensor:
        with self.method.lora.active():
            return answer_nll(self.learner, self.amortizer, memory, rows)

    @override
    def after_step(self, step: int, num_steps: int) -> None:
        """Reset codes that are hardly used to vectors of the latest batch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        self.method.codebook.track(self.numbers)
        self.method.codebook.reset_unused(self.latest, threshold=self.method.reset_below, generator=generator)
