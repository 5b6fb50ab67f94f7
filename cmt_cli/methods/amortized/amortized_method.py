"""The base methods of cmt, mac and mbc: meta-train once, then learn a document by encoding it into the bank."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Document, Episodes, Task
from cmt_cli.memory.document_bank import DocumentBank
from cmt_cli.memory.faiss_index import FaissIndex
from cmt_cli.memory.quantization import DTYPES
from cmt_cli.memory.records import Records, text_sha256
from cmt_cli.methods.amortized.amortizer import Amortizer, AmortizerSettings, Item
from cmt_cli.methods.amortized.encoded_batch import make_items
from cmt_cli.methods.amortized.episodic_objective import EpisodicObjective

CENTERING_ITEMS = 64  # questions whose states center the retrieval keys before meta-training


@dataclass(frozen=True, kw_only=True, slots=True)
class BankSettings:
    """How memories are kept and found.

    `dtype` is "float32", "bfloat16", "int8" or "pq"; with "pq" a memory vector takes `pq_bytes_per_token` bytes and a
    key `pq_bytes_per_key` (0: bfloat16), in codebooks fitted on `pq_sample` documents of the meta-training split.
    `num_probes` lists are searched by the approximate index, which needs faiss; None searches exactly.
    """

    dtype: str
    pq_bytes_per_token: int
    pq_bytes_per_key: int
    pq_sample: int
    num_probes: int | None

    def __post_init__(self) -> None:
        """Refuse a storage type that does not exist."""
        one_of(self.dtype, DTYPES, "method.bank.dtype")


class AmortizedMethod(Method):
    """A frozen model, a meta-trained amortizer and a bank of memories."""

    needs_documents = True
    needs_episodes = True
    answers_with = "a memory of documents, from which it makes a prefix for each question"

    def __init__(self, *, parts: AmortizerSettings, encode_batch_size: int, seed: int) -> None:
        """`encode_batch_size` counts documents per forward pass; the draws are made from `seed`."""
        self.parts = parts
        self.encode_batch_size = encode_batch_size
        self.seed = seed
        self.folder: Path | None = None

    @override
    def attach(self, folder: Path) -> None:
        self.folder = folder

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Build the amortizer, open the bank and meta-train through the frozen model."""
        self.amortizer = Amortizer(learner, self.parts, self.seed)
        self.build_extra(learner)
        self.open_memory(learner)
        items = make_items(learner, self.amortizer, episodes.train, self.seed)
        self.amortizer.center(items[:CENTERING_ITEMS])
        fit.on_objective(self.objective(learner, items))

    @abstractmethod
    def open_memory(self, learner: Learner) -> None:
        """Open what `store` writes to."""

    def build_extra(self, learner: Learner) -> None:
        """Build what the method trains besides the amortizer."""

    @abstractmethod
    def objective(self, learner: Learner, items: Sequence[Item]) -> EpisodicObjective:
        """Return what meta-training minimizes."""

    @override
    @torch.no_grad()
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Encode the task's documents into the bank, like lengths together; no gradient is taken."""
        pieces = [
            (d, n, ids) for d in task.documents for n, ids in enumerate(self.amortizer.compressor.segments(d.text))
        ]
        order = sorted(range(len(pieces)), key=lambda i: len(pieces[i][2]))
        memories: list[Tensor] = [torch.empty(0)] * len(pieces)
        size, processes, parts = self.encode_batch_size, learner.processes, MemoryParts()
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        for start in range(0, len(batches), processes.world_size):
            together = batches[start : start + processes.world_size]
            own = together[processes.rank] if processes.rank < len(together) else []
            found = parts.run(self.encode, [pieces[i][2] for i in own], in_step=processes.is_sharded)
            encoded = torch.cat(list(found)) if own else torch.empty(0)
            joined = [encoded] if processes.world_size == 1 else processes.gather(encoded.cpu())[: len(together)]
            for chosen, part in zip(together, joined, strict=True):
                for i, memory in zip(chosen, part.to(learner.device), strict=True):
                    memories[i] = memory
        if pieces:
            self.store([document for document, _, _ in pieces], [n for _, n, _ in pieces], torch.stack(memories))

    def encode(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Return the memories `[docs, slots, width]` that the bank stores."""
        return self.amortizer.encode_documents(sequences)

    @abstractmethod
    def store(self, documents: Sequence[Document], segments: Sequence[int], memories: Tensor) -> None:
        """Keep one memory per segment, `[segments, slots, width]`."""

    def trained_modules(self) -> dict[str, torch.nn.Module]:
        """Return the modules that meta-training trains, by the prefix of their names in the state."""
        return {"amortizer": self.amortizer}

    @override
    def state_dict(self) -> State:
        state = self.memory_state()
        for prefix, module in self.trained_modules().items():
            state |= {f"{prefix}/{name}": value for name, value in trained_state(module).items()}
        return state

    @override
    def load_state_dict(self, state: State) -> None:
        for prefix, module in self.trained_modules().items():
            parameters = dict(module.named_parameters()) | dict(module.named_buffers())
            for name in trained_state(module):
                parameters[name].data.copy_(state[f"{prefix}/{name}"])
        self.load_memory_state(state)

    @abstractmethod
    def memory_state(self) -> State:
        """Return where the memory stands."""

    @abstractmethod
    def load_memory_state(self, state: State) -> None:
        """Go back to where the memory stood."""


class BankedMethod(AmortizedMethod):
    """An amortized method whose memories go into a document bank."""

    def __init__(self, *, parts: AmortizerSettings, bank: BankSettings, encode_batch_size: int, seed: int) -> None:
        super().__init__(parts=parts, encode_batch_size=encode_batch_size, seed=seed)
        self.bank_settings = bank

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Meta-train, and fit the codebooks of a product-quantized bank that has none yet."""
        super().before_stream(learner, episodes, fit)
        if self.bank.needs_quantizer:
            self.fit_quantizer([d for e in episodes.train for d in e.support])

    @override
    def open_memory(self, learner: Learner) -> None:
        self.bank = DocumentBank(
            folder=self.folder,
            num_tokens=self.amortizer.num_slots,
            width=self.amortizer.width,
            key_width=self.parts.key_width,
            dtype=self.bank_settings.dtype,
            device=learner.device,
            cache_width=self.cache_width(),
        )
        if self.bank_settings.num_probes is not None:
            probes, width = self.bank_settings.num_probes, self.parts.key_width
            self.bank.use_index(FaissIndex(key_width=width, device=learner.device, num_probes=probes, seed=self.seed))

    def cache_width(self) -> int:
        """Return how many numbers per document the bank keeps of the aggregator's keys and values."""
        return 0

    @torch.no_grad()
    def fit_quantizer(self, documents: Sequence[Document]) -> None:
        """Fit the codebooks of a product-quantized bank on the first of some documents."""
        settings = self.bank_settings
        texts = [self.amortizer.compressor.segments(d.text)[0] for d in documents[: settings.pq_sample]]
        size = self.encode_batch_size
        parts, batches = MemoryParts(), [texts[i : i + size] for i in range(0, len(texts), size)]
        memories = torch.cat([found for batch in batches for found in parts.run(self.encode, batch)])
        self.bank.fit_quantizer(
            memories,
            self.amortizer.keys(memories),
            bytes_per_token=settings.pq_bytes_per_token,
            bytes_per_key=settings.pq_bytes_per_key,
            seed=self.seed,
        )

    @override
    def store(self, documents: Sequence[Document], segments: Sequence[int], memories: Tensor) -> None:
        """Append one memory per segment to the bank; a document that is stored already is replaced."""
        new = [i for i, d in enumerate(documents) if not self.bank.rows_of(d.id)]
        if new:
            self.bank.append(self._records(documents, segments, memories, new))
        known = set(new)
        for name in dict.fromkeys(d.id for i, d in enumerate(documents) if i not in known):
            own = [i for i, d in enumerate(documents) if d.id == name]
            self.bank.replace(name, self._records(documents, segments, memories, own))

    def _records(
        self, documents: Sequence[Document], segments: Sequence[int], memories: Tensor, chosen: Sequence[int]
    ) -> Records:
        memories = memories[torch.tensor(chosen, device=memories.device)]
        project = self.amortizer.aggregator.project
        return Records(
            document_ids=[documents[i].id for i in chosen],
            segments=[segments[i] for i in chosen],
            sha256=[text_sha256(documents[i].text) for i in chosen],
            dates=[documents[i].date for i in chosen],
            memories=memories,
            keys=self.amortizer.keys(memories),
            cached=project(memories).flatten(1) if self.cache_width() else None,
        )

    @override
    def memory_state(self) -> State:
        return {"bank": self.bank.position()}

    @override
    def load_memory_state(self, state: State) -> None:
        self.bank.truncate(state["bank"])

    @override
    def storage_bytes(self) -> int:
        return self.bank.storage_bytes().total


def trained_state(module: torch.nn.Module) -> State:
    """Return a module's trainable parameters and persistent buffers, detached."""
    trainable = {name for name, p in module.named_parameters() if p.requires_grad}
    buffers = {name for name, _ in module.named_buffers()}
    return {n: v.detach().clone() for n, v in module.state_dict().items() if n in trainable or n in buffers}
