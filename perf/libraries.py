"""What code of ours costs and gives beside the library that does the same: scipy.stats, pandas, bm25s, faiss.

Whole imports are timed in processes of their own, calls as the best of three. Libraries that are not installed are left
out. Writes perf/results/libraries.md and .json; docs/decisions.md draws the conclusions.
Run: OMP_NUM_THREADS=1 python perf/libraries.py
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from parts import set_up
from reporting import best_seconds, machine_line, parser, table, write

from cmt_cli.analysis.statistics import bootstrap_interval, sign_flip_test
from cmt_cli.memory.faiss_index import FaissIndex
from cmt_cli.memory.index import ExactIndex
from cmt_cli.memory.lexical_index import Bm25, terms_of

MODULES = ("numpy", "scipy.stats", "pandas", "bm25s", "rouge_score.rouge_scorer", "cmt_cli.analysis.compare_runs")
NUM_KEYS, KEY_WIDTH, NUM_QUERIES, K = 100_000, 192, 256, 8
Row = dict[str, Any]


def main() -> None:
    """Measure everything and write the report."""
    options = parser(__doc__).parse_args()
    record: dict[str, Any] = {"machine": set_up(options.threads)}
    record["imports"] = [{"module": name, "seconds": best_seconds(lambda n=name: imported(n))} for name in MODULES]  # type: ignore[misc]
    record["calls"] = [*statistics(), *lexical_search()]
    record["indices"] = list(key_search())
    write("libraries", record, markdown(record), options.results)


def imported(module: str) -> None:
    """Import a module in a new process."""
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


def statistics() -> Iterator[Row]:
    """Yield tests and intervals of 16 pairs, and of 10,000 questions whose differences have three values."""
    from scipy import stats

    draw = np.random.default_rng(0)
    few, many = draw.normal(size=16), draw.choice([-1.0, 0.0, 1.0], size=10_000, p=[0.2, 0.55, 0.25])
    for name, values, resamples in (("16 pairs, exact", few, np.inf), ("10,000 questions, drawn", many, 10_000)):

        def theirs(values: Any = values, resamples: float = resamples) -> Any:
            settings = {"permutation_type": "samples", "n_resamples": resamples, "batch": 500, "vectorized": True}
            return stats.permutation_test((values,), np.mean, **settings, rng=np.random.default_rng(0))

        ours = sign_flip_test(list(values))
        assert ours is not None
        agrees = f"p {ours.p:.6g} and {theirs().pvalue:.6g}"
        seconds = best_seconds(lambda v=values: sign_flip_test(list(v)))  # type: ignore[misc]
        yield {"case": f"sign-flip test, {name}", "ours": seconds, "theirs": best_seconds(theirs, 1), "agrees": agrees}

    def interval() -> Any:
        settings = {"method": "percentile", "n_resamples": 10_000, "batch": 500}
        return stats.bootstrap((many,), np.mean, **settings, rng=np.random.default_rng(0)).confidence_interval

    mine, given = bootstrap_interval(list(many)), interval()
    assert mine is not None
    agrees = f"[{mine.low:.4f}, {mine.high:.4f}] and [{given.low:.4f}, {given.high:.4f}]"
    seconds = best_seconds(lambda: bootstrap_interval(list(many)))
    yield {
        "case": "bootstrap, 10,000 questions",
        "ours": seconds,
        "theirs": best_seconds(interval, 1),
        "agrees": agrees,
    }


def lexical_search() -> Iterator[Row]:
    """Yield indexing and searching of 10,000 documents of 60 words with a Zipf vocabulary."""
    import bm25s

    draw = np.random.default_rng(0)
    weights = 1 / np.arange(1, 20_001)
    words = draw.choice(20_000, size=(10_000, 60), p=weights / weights.sum())
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    queries = [" ".join(text.split()[:10]) for text in texts[:64]]

    def ours() -> Bm25:
        index = Bm25(k1=1.5, b=0.75)
        for number, text in enumerate(texts):
            index.add(str(number), text)
        return index

    def theirs() -> Any:
        index = bm25s.BM25(k1=1.5, b=0.75, method="lucene", dtype="float64")
        index.index([terms_of(text) for text in texts], show_progress=False)
        return index

    mine, given = ours(), theirs()
    found = [mine.search(query, K) for query in queries]
    scores = [given.retrieve([terms_of(query)], k=K, show_progress=False)[1][0] for query in queries]
    pairs = [(a[1] / 2.5, b) for one, other in zip(found, scores, strict=True) for a, b in zip(one, other, strict=True)]
    agrees = f"largest difference of scores {max(abs(a - b) for a, b in pairs):.0e}, without the factor k1 + 1"
    yield {"case": "BM25, index", "ours": best_seconds(ours, 1), "theirs": best_seconds(theirs, 1), "agrees": ""}
    yield {
        "case": "BM25, 64 questions",
        "ours": best_seconds(lambda: [mine.search(query, K) for query in queries]),
        "theirs": best_seconds(lambda: [given.retrieve([terms_of(q)], k=K, show_progress=False) for q in queries]),
        "agrees": agrees,
    }


def key_search() -> Iterator[Row]:
    """Yield recall@8 and questions per second over keys around 1,000 topics, exact and by inverted lists of faiss."""
    draw = torch.Generator().manual_seed(0)
    topics = torch.randn(1000, KEY_WIDTH, generator=draw)[torch.randint(1000, (NUM_KEYS,), generator=draw)]
    noise = 0.7 * torch.randn(NUM_KEYS, KEY_WIDTH, generator=draw)
    keys = torch.nn.functional.normalize(topics + noise, dim=1)
    asked = keys[torch.randint(NUM_KEYS, (NUM_QUERIES,), generator=draw)]
    queries = asked + 0.05 * torch.randn(asked.shape, generator=draw)
    exact = ExactIndex(key_width=KEY_WIDTH, device=torch.device("cpu"))
    exact.add(keys)
    gold = exact.search(queries, K)[1]
    indices: dict[str, ExactIndex] = {"exact": exact}
    for probes in (4, 8, 16):
        lists = FaissIndex(key_width=KEY_WIDTH, device=torch.device("cpu"), num_probes=probes, seed=0)
        lists.add(keys)
        indices[f"faiss, {probes} lists probed"] = lists
    for name, index in indices.items():
        recall = (index.search(queries, K)[1][:, :, None] == gold[:, None]).any(dim=1).float().mean()
        together = NUM_QUERIES / best_seconds(lambda i=index: i.search(queries, K))  # type: ignore[misc]
        alone = 64 / best_seconds(lambda i=index: [i.search(query[None], K) for query in queries[:64]])  # type: ignore[misc]
        yield {"index": name, "recall": float(recall), "together": together, "alone": alone}


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    calls = {
        "case": ("case", ""),
        "ours": ("ours, s", ".4f"),
        "theirs": ("library, s", ".4f"),
        "agrees": ("result", ""),
    }
    indices = {"index": ("index", ""), "recall": ("recall@8", ".3f"), "together": ("questions/s, all at once", ",.0f")}
    indices |= {"alone": ("questions/s, one at a time", ",.0f")}
    return "\n".join(
        [
            "# Our code beside libraries\n",
            machine_line(record["machine"], "libraries"),
            table(record["imports"], {"module": ("import", ""), "seconds": ("seconds", ".2f")}),
            table(record["calls"], calls),
            f"Search of {NUM_KEYS:,} keys of width {KEY_WIDTH}:\n",
            table(record["indices"], indices),
        ]
    )


if __name__ == "__main__":
    main()
