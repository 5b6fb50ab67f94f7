"""Adapting to documents and answering about 1,665 of them at the sizes of MAC's released code, ours against theirs.

    python perf/adaptation.py    # writes perf/results/adaptation.{md,json}; about 10 minutes on 2 cores
    python perf/adaptation.py --questions 32 --beam-questions 4 --documents 32    # a quick look

distilgpt2's shape as the frozen model, t5-small's (6 + 6 layers, width 512) as compressor, random weights, otherwise
experiment=mac_paper: 12 vectors per document, 4 blocks of 8 x 96 heads, 2 virtual tokens per layer. The reference is
`released.py`, our own plain version of what the released code does, with the same weights and in the same run.
Encoding: token counts are drawn uniformly from three ranges: "news article" 350 to 500 (StreamingQA's, assumed),
"paragraph" 100 to 200 (SQuAD's and ArchivalQA's, about 150), "short" 40 to 80.
Aggregation: memories are drawn with the mean and deviation of encoded ones. Ours reads keys and values that were
projected once per document; cmt's reads the best 8 of a search. The table gives the largest deviation from the
reference over the reference's own largest change of a state.
Answering: from tokens of the question to the answer's text; the reference takes questions one at a time, a few of them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import released
import torch
from decoding import BEAMS, GREEDY, without_cache
from parts import NoTraining, configured, random_distilgpt2, random_words, set_up, word_tokenizer
from reporting import best_seconds, machine_line, note, parser, table, write
from torch import Tensor
from transformers import T5Config, T5Model

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Document, Episode, Episodes, Example, Prompt
from cmt_cli.memory.records import Records, text_sha256
from cmt_cli.methods.amortized.amortized_method import BankedMethod
from cmt_cli.methods.amortized.mac import BankRecall

T5_SMALL = {"vocab_size": 32128, "d_model": 512, "d_ff": 2048, "d_kv": 64, "num_heads": 8, "num_layers": 6}
LENGTHS = {"news article": (350, 500), "paragraph": (100, 200), "short": (40, 80)}  # tokens
QUESTION_TOKENS = (10, 30)
WINDOW = 16
NUM_WORDS = 30000  # words that both tokenizers know


def save_random_t5(folder: Path) -> None:
    """Save a T5 of t5-small's shape with random weights, and a tokenizer."""
    torch.manual_seed(0)
    T5Model(T5Config(**T5_SMALL, decoder_start_token_id=0)).save_pretrained(folder)
    word_tokenizer(T5_SMALL["vocab_size"]).save_pretrained(folder)


def built(name: str, learner: Learner, folder: Path) -> BankedMethod:
    """Return a method with MAC's parts on a learner, its bank in RAM."""
    job = configured("experiment=mac_paper", f"method={name}", f"method.parts.compressor.name_or_path={folder}")
    method: BankedMethod = job.build("method")
    example = Example("q", "w5 w6", " w7", ("w7",), (), ("d",))
    method.before_stream(learner, Episodes(train=[Episode((Document("d", "w8 w9 w7"),), (example,))]), NoTraining())
    generator = torch.Generator().manual_seed(1)
    block: Any
    for block in method.amortizer.aggregator.blocks:  # they start at zero, which would hide a wrong result
        for layer in (block.output, block.ffn_out):
            layer.weight.data.copy_(torch.randn(layer.weight.shape, generator=generator) * 0.02)
    return method


def measure_encoding(method: BankedMethod, kind: str, num_documents: int, num_reference: int) -> dict[str, Any]:
    """Return documents encoded per second, ours and the reference's, on texts of one range of lengths."""
    note(f"encoding: {kind}")
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(*LENGTHS[kind], (num_documents,), generator=generator).tolist()
    documents = [torch.randint(3, NUM_WORDS, (n - 1,), generator=generator).tolist() for n in lengths]
    documents = [[*ids, 1] for ids in documents]
    order = sorted(range(num_documents), key=lambda i: lengths[i])
    size = method.encode_batch_size
    batches = [[documents[i] for i in order[first : first + size]] for first in range(0, num_documents, size)]
    method.encode(documents[:2])
    ours = best_seconds(lambda: [method.encode(batch) for batch in batches], 1) / num_documents
    few = documents[:num_reference]
    started = time.perf_counter()
    expected = released.encode(method.amortizer.compressor, few)
    theirs = (time.perf_counter() - started) / num_reference
    return {
        "kind": kind,
        "tokens": sum(lengths) / num_documents,
        "ours": 1 / ours,
        "released": 1 / theirs,
        "ratio": theirs / ours,
        "deviation": float((method.encode(few) - expected).abs().max() / expected.abs().max()),
    }


def fill(method: BankedMethod, memories: Tensor) -> None:
    """Store memories `[docs, slots, width]` as the method would."""
    names = [f"d{i}" for i in range(len(memories))]
    project = method.amortizer.aggregator.project
    cached = project(memories).flatten(1) if method.cache_width() else None
    hashes, keys = [text_sha256(name) for name in names], method.amortizer.keys(memories)
    method.bank.append(Records(document_ids=names, sha256=hashes, memories=memories, keys=keys, cached=cached))


def questions(number: int, seed: int) -> list[Prompt]:
    """Return drawn questions."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(*QUESTION_TOKENS, (number,), generator=generator).tolist()
    return [Prompt(str(i), random_words(n, NUM_WORDS, generator)) for i, n in enumerate(lengths)]


def measure_aggregation(mac: BankedMethod, cmt: Any, batch: int) -> list[dict[str, Any]]:
    """Return seconds per question to join the bank, in several ways, and how far they are from the reference."""
    prompts = questions(batch, 2)
    states = mac.amortizer.encode_questions([mac.amortizer.compressor.segments(p.text)[-1] for p in prompts])
    memories, aggregator = mac.bank.memories(mac.bank.rows()), mac.amortizer.aggregator
    one = states[:1]
    flat, grouped = BankRecall(mac.amortizer, mac.bank, None), BankRecall(mac.amortizer, mac.bank, WINDOW)
    ways: dict[str, tuple[Callable[[], Tensor | None], int]] = {
        "released, whole bank": (lambda: released.aggregate(aggregator, one, memories), 1),
        "released, groups of 16": (lambda: released.aggregate_in_groups(aggregator, one, memories, WINDOW), 1),
        "mac, whole bank": (lambda: flat(states, prompts)[0], batch),
        "mac, whole bank, one question": (lambda: flat(one, prompts[:1])[0], 1),
        "mac, groups of 16": (lambda: grouped(states, prompts)[0], batch),
        "cmt, search and best 8": (lambda: cmt.recall_top_k(states, prompts)[0], batch),
        "cmt, search and best 8, one question": (lambda: cmt.recall_top_k(one, prompts[:1])[0], 1),
    }
    rows: list[dict[str, Any]] = []
    results: dict[str, Tensor] = {}
    for name, (call, size) in ways.items():
        note(f"aggregation: {name}")
        joined = call()
        assert joined is not None
        results[name] = joined
        seconds = best_seconds(call, 2) / size
        rows.append({"way": name, "batch": size, "milliseconds": 1000 * seconds})
    first = {row["way"]: row for row in rows}
    for row in rows:
        row["ratio"] = first["released, whole bank"]["milliseconds"] / row["milliseconds"]
        kind = row["way"].partition(", ")[2].removesuffix(", one question")
        reference = results.get(f"released, {kind}")
        row["deviation"] = None
        if reference is not None:
            gap = (results[row["way"]][:1] - reference).abs().max()
            row["deviation"] = float(gap / (reference - one).abs().max())
    return rows


def measure_answers(
    learner: Learner, mac: BankedMethod, cmt: BankedMethod, *, decoding: Decoding, number: int, num_reference: int
) -> list[dict[str, Any]]:
    """Return answers per second of the methods' predictors and of the reference."""
    prompts = questions(number, 3)
    note(f"answers: released, {num_reference}")
    started = time.perf_counter()
    expected = [released_answer(learner, mac, prompt, decoding) for prompt in prompts[:num_reference]]
    theirs = (time.perf_counter() - started) / num_reference
    name = "greedy" if decoding.num_beams == 1 else f"{decoding.num_beams} diverse beams"
    rows = [{"decoding": name, "way": "released", "questions": num_reference, "per_second": 1 / theirs}]
    rows[0] |= {"ratio": 1.0, "agreement": None}
    for method in (mac, cmt):
        predictor = method.predictor(learner, 0)
        note(f"answers: {type(method).__name__}, {number}")
        started = time.perf_counter()
        answers = predictor.generate(prompts, decoding)
        seconds = (time.perf_counter() - started) / number
        row = {"decoding": name, "way": type(method).__name__.lower(), "questions": number, "per_second": 1 / seconds}
        same = sum(answer.text == text for answer, text in zip(answers, expected, strict=False)) / num_reference
        rows.append(row | {"ratio": theirs / seconds, "agreement": same if method is mac else None})
    return rows


def released_answer(learner: Learner, mac: BankedMethod, prompt: Prompt, decoding: Decoding) -> str:
    """Answer one question: encode it, project and join the whole bank, decode without a cache."""
    amortizer = mac.amortizer
    state = amortizer.encode_questions([amortizer.question_compressor.segments(prompt.text)[-1]])
    memory = released.aggregate(amortizer.aggregator, state, mac.bank.memories(mac.bank.rows()))
    prefix = amortizer.injection(memory)
    ids = torch.tensor([learner.prompt_ids(prompt.text)])
    return decoding.clean(learner.decode(without_cache(learner.model, ids, prefix, decoding, learner.eos_id)))


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    encoding = {"kind": ("documents", ""), "tokens": ("tokens, mean", ".0f"), "ours": ("ours, documents/s", ".1f")}
    encoding |= {"released": ("padded to 1,022, documents/s", ".2f"), "ratio": ("ratio", ".1f")}
    encoding |= {"deviation": ("relative deviation", ".0e")}
    aggregation = {"way": ("way", ""), "batch": ("questions at once", "d"), "milliseconds": ("ms per question", ",.2f")}
    aggregation |= {"ratio": ("times faster than the first", ",.1f"), "deviation": ("deviation", ".0e")}
    answers = {"decoding": ("decoding", ""), "way": ("way", ""), "questions": ("questions", ",d")}
    answers |= {"per_second": ("answers/s", ".2f"), "ratio": ("times faster", ".1f")}
    answers |= {"agreement": ("same answers", ".0%")}
    return "\n".join(
        [
            "# Adaptation and answers at the sizes of MAC's released code\n",
            machine_line(record["machine"], "adaptation"),
            "Frozen model: distilgpt2's shape; compressor: t5-small's; random weights. Reference points that others "
            "measured with the released code on two cores: 1.5 documents/s (25/s unpadded), 0.90 s per question to "
            "aggregate, 2.99 s to generate with 12 beams.\n",
            "## Encoding documents\n",
            table(record["encoding"], encoding),
            f"## Aggregating {record['memories']:,} memories for a question\n",
            table(record["aggregation"], aggregation),
            f"## Answering over {record['memories']:,} memories, 16 new tokens\n",
            table(record["answers"], answers),
        ]
    )


@torch.inference_mode()
def measure(given: Any, folder: Path) -> dict[str, Any]:
    """Return all figures."""
    save_random_t5(folder)
    learner = random_distilgpt2()
    mac, cmt = (built(name, learner, folder) for name in ("mac", "cmt"))
    encoding = [measure_encoding(mac, kind, given.documents, given.reference) for kind in LENGTHS]
    sample = mac.encode([mac.amortizer.compressor.segments(p.text)[-1] for p in questions(64, 4)])
    drawn = torch.randn(given.memories, *sample.shape[1:], generator=torch.Generator().manual_seed(5))
    memories = sample.mean(dim=0) + drawn * sample.std(dim=0)
    for method in (mac, cmt):
        fill(method, memories)
    aggregation = measure_aggregation(mac, cmt, GREEDY.batch_size)
    half, quarter = max(1, given.reference // 2), max(1, given.reference // 4)
    answers = [
        *measure_answers(learner, mac, cmt, decoding=GREEDY, number=given.questions, num_reference=half),
        *measure_answers(learner, mac, cmt, decoding=BEAMS, number=given.beam_questions, num_reference=quarter),
    ]
    return {"encoding": encoding, "aggregation": aggregation, "answers": answers}


def main() -> None:
    """Measure and write the tables."""
    options = parser(__doc__)
    options.add_argument("--documents", type=int, default=128, help="documents encoded per range of lengths")
    options.add_argument("--memories", type=int, default=1665, help="stored documents")
    options.add_argument("--questions", type=int, default=1000, help="questions answered greedily")
    options.add_argument("--beam-questions", type=int, default=64, help="questions answered with diverse beams")
    options.add_argument("--reference", type=int, default=16, help="documents of the reference; half as many questions")
    given = options.parse_args()
    facts = set_up(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        record = {"machine": facts, "memories": given.memories, **measure(given, Path(folder))}
    write("adaptation", record, markdown(record), given.results)


if __name__ == "__main__":
    main()
