"""Answers per second and bytes per document of CMT on model=tiny with 1e3, 1e4 and 1e5 stored documents.

    python perf/answers.py    # writes perf/results/answers.{md,json}; about 5 minutes on 2 cores

method=cmt with its defaults, untrained (speed does not depend on the weights), its bank on disk and searched exactly.
The memories of 1,000 generated documents are stored again and again, each time with noise added, under ids of their
own. The questions are the stream's own, in batches of 64, from their text to the answer's. A bank of every dtype is
filled once and asked on the way. The search is timed inside the answers: what remains is encoding the question, reading
and joining 8 memories and decoding, and must not grow with the bank. The bank alone is in `memory_bank.py`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from parts import GENERATED, NoTraining, configured, set_up
from reporting import machine_line, note, parser, table, write
from torch import Tensor

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt, Stream
from cmt_cli.memory.index import KeyIndex
from cmt_cli.memory.records import Records, text_sha256
from cmt_cli.methods.amortized.cmt import Cmt
from cmt_cli.running.job import Job

SIZES = (1_000, 10_000, 100_000)
DTYPES = ("bfloat16", "int8", "pq")
NUM_ENCODED = 1000
NOISE = 0.3  # of a memory number's standard deviation
DECODING = Decoding(max_new_tokens=16, batch_size=64, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)


class TimedIndex:
    """A bank's index whose searches are timed."""

    def __init__(self, inner: KeyIndex) -> None:
        self.inner = inner
        self.add, self.remove, self.truncate = inner.add, inner.remove, inner.truncate
        self.seconds = 0.0

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Search as the index does."""
        started = time.perf_counter()
        found = self.inner.search(queries, k)
        self.seconds += time.perf_counter() - started
        return found


class NoisyCopies:
    """Memories of a few documents, from which any number is drawn."""

    def __init__(self, method: Cmt, texts: Sequence[str]) -> None:
        """Encode the texts."""
        size = method.encode_batch_size
        tokens = [method.amortizer.compressor.segments(text)[0] for text in texts]
        self.memories = torch.cat([method.encode(tokens[i : i + size]) for i in range(0, len(tokens), size)])
        self.scale = NOISE * self.memories.std(dim=0)
        self.generator = torch.Generator().manual_seed(0)

    def records(self, method: Cmt, first: int) -> Records:
        """Return as many records as there are texts, numbered from `first` on."""
        noise = torch.randn(self.memories.shape, generator=self.generator)
        memories = self.memories + self.scale * noise
        names = [f"doc-{number:06d}" for number in range(first, first + len(memories))]
        return Records(
            document_ids=names,
            sha256=[text_sha256(name) for name in names],
            memories=memories,
            keys=method.amortizer.keys(memories),
            dates=["2020-01-01"] * len(names),
        )


def questions_of(stream: Stream, number: int) -> list[Prompt]:
    """Return the stream's first test questions."""
    examples = [example for test in stream.tests for example in test.examples]
    return [Prompt(example.id, example.prompt, document_ids=example.document_ids) for example in examples[:number]]


def measure_dtype(
    job: Job, learner: Learner, stream: Stream, *, sizes: Sequence[int], prompts: Sequence[Prompt]
) -> list[dict[str, Any]]:
    """Return a row per bank size."""
    method: Cmt = job.build("method")
    dtype, rows = method.bank_settings.dtype, []
    with tempfile.TemporaryDirectory() as folder:
        method.attach(Path(folder))
        method.before_stream(learner, stream.episodes, NoTraining())
        texts = [d.text for episode in stream.episodes.train for d in episode.support][:NUM_ENCODED]
        copies, stored = NoisyCopies(method, texts), 0
        for size in sizes:
            for first in range(stored, size, len(copies.memories)):
                method.bank.append(copies.records(method, first))
            stored = method.bank.num_documents
            note(f"{dtype}: {stored} documents")
            rows.append({"dtype": dtype, **measure_size(method, learner, prompts)})
        method.bank.close()
    for row in rows:
        row["rest_growth"] = row["rest_ms"] / rows[0]["rest_ms"]
    return rows


def measure_size(method: Cmt, learner: Learner, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Ask the bank as it is; the faster of two passes counts."""
    bank = method.bank
    index = TimedIndex(bank.index.inner if isinstance(bank.index, TimedIndex) else bank.index)
    bank.index = index
    predictor = method.predictor(learner, 0)
    predictor.generate(prompts[: DECODING.batch_size], DECODING)
    passes = []
    for _ in range(2):
        index.seconds, started = 0.0, time.perf_counter()
        predictor.generate(prompts, DECODING)
        passes.append((time.perf_counter() - started, index.seconds))
    seconds, searching = min(passes)
    used, documents = bank.storage_bytes(), bank.num_documents
    return {
        "documents": documents,
        "answers_per_second": len(prompts) / seconds,
        "ms": 1000 * seconds / len(prompts),
        "search_ms": 1000 * searching / len(prompts),
        "rest_ms": 1000 * (seconds - searching) / len(prompts),
        "memory": used.memory / documents,
        "key": used.key / documents,
        "text": used.text / documents,
        "codebook": used.codebook / documents,
        "total": used.total / documents,
    }


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    speed = {"dtype": ("stored as", ""), "documents": ("documents", ",d"), "answers_per_second": ("answers/s", ",.1f")}
    speed |= {"ms": ("ms per question", ".2f"), "search_ms": ("of it search", ".3f"), "rest_ms": ("the rest", ".2f")}
    speed |= {"rest_growth": ("rest / rest at the smallest bank", ".2f")}
    size = {"dtype": ("stored as", ""), "documents": ("documents", ",d"), "memory": ("memory", ",.0f")}
    size |= {"key": ("key", ",.0f"), "text": ("id, hash, date", ",.0f"), "codebook": ("codebooks", ",.0f")}
    size |= {"total": ("total", ",.0f")}
    return "\n".join(
        [
            "# Answers over growing banks\n",
            machine_line(record["machine"], "answers"),
            f"method=cmt on model=tiny, 8 x 192 numbers per document, top 8 by exact search, {record['questions']} "
            f"questions in batches of {DECODING.batch_size}, up to {DECODING.max_new_tokens} tokens each, greedy.\n",
            "## Time\n",
            table(record["rows"], speed),
            "## Bytes per document\n",
            "Codebooks are shared by all documents and counted by their share.\n",
            table(record["rows"], size),
        ]
    )


def main() -> None:
    """Measure and write the tables."""
    options = parser(__doc__)
    options.add_argument("--questions", type=int, default=512, help="questions per bank")
    options.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="documents, multiples of 1,000")
    options.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    given = options.parse_args()
    facts = set_up(given.threads)
    jobs = {dtype: configured("method=cmt", *GENERATED, f"method.bank.dtype={dtype}") for dtype in given.dtypes}
    first = next(iter(jobs.values()))
    learner, stream = first.build("model"), first.build("data")
    prompts = questions_of(stream, given.questions)
    with torch.inference_mode():
        parts = [measure_dtype(job, learner, stream, sizes=given.sizes, prompts=prompts) for job in jobs.values()]
    record = {"machine": facts, "questions": len(prompts), "rows": [row for rows in parts for row in rows]}
    write("answers", record, markdown(record), given.results)


if __name__ == "__main__":
    main()
