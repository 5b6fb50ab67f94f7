"""Bytes per document, appended documents per second and search time of the memory bank at 1e3, 1e4 and 1e5 documents.

Vectors are drawn, not computed by a model: memories have variance 1 / i along the i-th principal direction, keys
are unit vectors around 1,000 topics, and a question is the key of its document plus noise. Recall is that of the exact
top 8. Writes results/memory_bank.md and .json. Run: python perf/memory_bank.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from parts import set_up
from reporting import best_seconds, machine_line, parser, table, write
from torch import Tensor

from cmt_cli.memory.document_bank import DocumentBank
from cmt_cli.memory.faiss_index import FaissIndex
from cmt_cli.memory.lexical_index import Bm25
from cmt_cli.memory.records import Records, text_sha256

K = 8
NUM_QUESTIONS = 256
QUESTION_BATCH = 64
APPEND_BATCH = 64
NUM_PROBES = 8
# name: tokens, width of a token, width of a key, bytes per token and per key of product quantization
SIZES = {"tiny": (8, 192, 192, 24, 64), "Llama-2-7b": (24, 4096, 256, 8, 64)}
DTYPES = ("float32", "bfloat16", "int8", "pq")


class Vectors:
    """Draws memories and keys of one size."""

    def __init__(self, num_tokens: int, width: int, key_width: int, seed: int) -> None:
        """Draw the token means and the topics."""
        self.generator = torch.Generator().manual_seed(seed)
        self.num_tokens, self.width = num_tokens, width
        self.means = torch.randn(num_tokens, width, generator=self.generator)
        self.topics = torch.randn(1000, key_width, generator=self.generator)
        self.scales = torch.arange(1, width + 1) ** -0.5

    def memories(self, num: int) -> Tensor:
        """Return `[num, tokens, width]`; the principal directions are the axes."""
        return torch.randn(num, self.num_tokens, self.width, generator=self.generator) * self.scales + self.means

    def keys(self, num: int) -> Tensor:
        """Return unit keys `[num, key_width]`."""
        topics = self.topics[torch.randint(len(self.topics), (num,), generator=self.generator)]
        return torch.nn.functional.normalize(self.near(topics, 0.7), dim=1)

    def near(self, vectors: Tensor, noise: float) -> Tensor:
        """Return vectors with normal noise added, per component."""
        return vectors + noise * torch.randn(vectors.shape, generator=self.generator)

    def records(self, first: int, num: int) -> Records:
        """Return `num` records whose documents are numbered from `first` on."""
        ids = [f"doc-{number:06d}" for number in range(first, first + num)]
        hashes = [text_sha256(document_id) for document_id in ids]
        dates = ["2020-01-01"] * num
        return Records(document_ids=ids, sha256=hashes, memories=self.memories(num), keys=self.keys(num), dates=dates)


def new_bank(folder: Path | None, size: str, dtype: str, vectors: Vectors) -> DocumentBank:
    """Return an empty bank, its codebooks fitted where it needs them."""
    num_tokens, width, key_width, bytes_per_token, bytes_per_key = SIZES[size]
    bank = DocumentBank(
        folder=folder,
        num_tokens=num_tokens,
        width=width,
        key_width=key_width,
        dtype=dtype,
        device=torch.device("cpu"),
    )
    if bank.needs_quantizer:
        sample = 300 if size == "Llama-2-7b" else 1000
        bank.fit_quantizer(
            vectors.memories(sample),
            vectors.keys(4000),
            bytes_per_token=bytes_per_token,
            bytes_per_key=bytes_per_key,
            seed=0,
        )
    return bank


def measure_bytes(size: str, dtype: str) -> dict[str, Any]:
    """Store 256 documents in RAM and return bytes per document and what the storage type loses."""
    vectors = Vectors(*SIZES[size][:3], seed=0)
    bank = new_bank(None, size, dtype, vectors)
    records = vectors.records(0, 256)
    bank.append(records)
    used, originals = bank.storage_bytes(), records.memories.flatten(1)
    stored = bank.memories(bank.rows()).flatten(1)
    spread = (originals - originals.mean(dim=0)).square().sum()
    nearest = torch.cdist(originals, stored).argmin(dim=1)
    return {
        "size": size,
        "dtype": dtype,
        "memory": used.memory / 256,
        "key": used.key / 256,
        "text": used.text / 256,
        "codebook_total": used.codebook,
        "relative_squared_error": float((stored - originals).square().sum() / spread),
        "told_apart": float((nearest == torch.arange(256)).float().mean()),
    }


def measure_append(dtype: str, num_documents: int) -> dict[str, Any]:
    """Append documents to a new bank on disk and return the rate, drawing excluded."""
    vectors = Vectors(*SIZES["tiny"][:3], seed=0)
    with tempfile.TemporaryDirectory() as folder:
        bank = new_bank(Path(folder), "tiny", dtype, vectors)
        parts = [vectors.records(first, APPEND_BATCH) for first in range(0, num_documents, APPEND_BATCH)]
        start = time.perf_counter()
        for part in parts:
            bank.append(part)
        bank.close()
        seconds = time.perf_counter() - start
    return {"dtype": dtype, "num_documents": len(parts) * APPEND_BATCH, "documents_per_second": len(bank) / seconds}


def measure_search(num_documents: int) -> dict[str, Any]:
    """Fill a bfloat16 bank on disk and return milliseconds per question for each step of answering, and recall@8."""
    vectors = Vectors(*SIZES["tiny"][:3], seed=0)
    with tempfile.TemporaryDirectory() as folder:
        bank = new_bank(Path(folder), "tiny", "bfloat16", vectors)
        for first in range(0, num_documents, 1000):
            bank.append(vectors.records(first, 1000))
        bank.sync()
        asked = torch.randint(num_documents, (NUM_QUESTIONS,), generator=vectors.generator)
        questions = torch.nn.functional.normalize(vectors.near(bank.keys(asked), 0.05), dim=1)
        opening = best_seconds(lambda: new_bank(Path(folder), "tiny", "bfloat16", vectors))
        exact_ms, rows = timed_search(bank, questions)
        exact_alone_ms = timed_alone(bank, questions[:32])
        fetch_ms = 1000 * best_seconds(lambda: [bank.memories(part) for part in torch.split(rows, QUESTION_BATCH)])
        inverted = FaissIndex(key_width=questions.shape[1], device=bank.device, num_probes=NUM_PROBES, seed=0)
        bank.use_index(inverted)
        approximate_ms, found = timed_search(bank, questions)
        approximate_alone_ms = timed_alone(bank, questions[:32])
        bank.close()
    return {
        "num_documents": num_documents,
        "open_seconds": opening,
        "exact_ms": exact_ms,
        "approximate_ms": approximate_ms,
        "exact_alone_ms": exact_alone_ms,
        "approximate_alone_ms": approximate_alone_ms,
        "approximate_recall_at_8": float((found[:, :, None] == rows[:, None]).any(dim=1).float().mean()),
        "own_document_first": float((rows[:, 0] == asked).float().mean()),
        "own_document_first_approximate": float((found[:, 0] == asked).float().mean()),
        "fetch_ms": fetch_ms / NUM_QUESTIONS,
    } | measure_bm25(num_documents)


def timed_search(bank: DocumentBank, questions: Tensor) -> tuple[float, Tensor]:
    """Return milliseconds per question in batches of 64, and the rows `[questions, k]`."""
    parts = torch.split(questions, QUESTION_BATCH)
    rows = torch.cat([bank.search(part, K)[1] for part in parts])
    return 1000 * best_seconds(lambda: [bank.search(part, K) for part in parts]) / len(questions), rows


def timed_alone(bank: DocumentBank, questions: Tensor) -> float:
    """Return milliseconds per question, asked one at a time."""
    return 1000 * best_seconds(lambda: [bank.search(one[None], K) for one in questions]) / len(questions)


def measure_bm25(num_documents: int) -> dict[str, Any]:
    """Return documents per second and milliseconds per question of BM25 on texts of 60 words with a Zipf vocabulary."""
    generator = torch.Generator().manual_seed(0)
    weights = 1 / torch.arange(1, 20001)
    words = torch.multinomial(weights, num_documents * 60, replacement=True, generator=generator).view(-1, 60).tolist()
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    bm25 = Bm25(k1=1.2, b=0.75)
    start = time.perf_counter()
    for number, text in enumerate(texts):
        bm25.add(str(number), text)
    seconds = time.perf_counter() - start
    questions = [" ".join(text.split()[:10]) for text in texts[:64]]
    searching = best_seconds(lambda: [bm25.search(question, K) for question in questions])
    return {"bm25_documents_per_second": num_documents / seconds, "bm25_ms": 1000 * searching / 64}


def markdown(result: dict[str, Any]) -> str:
    """Return the report."""
    size = {"size": ("size", ""), "dtype": ("stored as", ""), "memory": ("memory", ",.0f"), "key": ("key", ",.0f")}
    size |= {"text": ("id, hash, date", ",.0f"), "codebook_total": ("codebooks, once", ",.0f")}
    size |= {"relative_squared_error": ("relative squared error", ".4f"), "told_apart": ("told apart", ".3f")}
    append = {"dtype": ("stored as", ""), "num_documents": ("documents", ",d")}
    append |= {"documents_per_second": ("documents/s", ",.0f")}
    search = {"num_documents": ("documents", ",d"), "exact_ms": ("exact, ms", ".3f")}
    search |= {"approximate_ms": ("approximate, ms", ".3f"), "approximate_recall_at_8": ("its recall@8", ".3f")}
    search |= {"own_document_first": ("own first, exact", ".3f"), "fetch_ms": ("fetch 8 memories, ms", ".3f")}
    search |= {"own_document_first_approximate": ("own first, approximate", ".3f")}
    search |= {"exact_alone_ms": ("exact, one at a time, ms", ".2f"), "open_seconds": ("open, s", ".2f")}
    search |= {"approximate_alone_ms": ("approximate, one at a time, ms", ".2f")}
    search |= {"bm25_ms": ("BM25, ms", ".2f"), "bm25_documents_per_second": ("BM25 add, documents/s", ",.0f")}
    return "\n".join(
        [
            "# Memory bank",
            machine_line(result["machine"], "memory_bank"),
            "Drawn vectors, no model.\n",
            "## Bytes per document",
            "tiny: 8 tokens x 192, key 192; Llama-2-7b: 24 tokens x 4,096, key 256. Told apart: share of 256 documents "
            "whose own stored memory is the nearest of all.\n",
            table(result["bytes"], size),
            "## Appending to disk (tiny, batches of 64)",
            table(result["append"], append),
            "## Per question, top 8 (tiny, bfloat16 on disk, batches of 64 questions)",
            f"Approximate: inverted lists of faiss, {NUM_PROBES} probed. BM25: 60 words a document, 10 a question.\n",
            table(result["search"], search),
        ]
    )


def main() -> None:
    """Measure everything and write the report."""
    given = parser(__doc__).parse_args()
    result = {
        "machine": set_up(given.threads),
        "bytes": [measure_bytes(size, dtype) for size in SIZES for dtype in DTYPES],
        "append": [measure_append(dtype, 6400) for dtype in DTYPES],
        "search": [measure_search(num_documents) for num_documents in (1_000, 10_000, 100_000)],
    }
    write("memory_bank", result, markdown(result), given.results)


if __name__ == "__main__":
    main()
