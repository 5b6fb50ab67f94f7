"""Measure CMT at the shape of Llama-2-7b, random weights made on the device: training, adaptation, answers, memory.

    python perf/gpu.py                      # on a CUDA device; writes perf/results/gpu.{md,json}
    python perf/gpu.py --shape small        # any machine, to see that it runs; prints, writes nothing

Tokens are counted once however often a forward pass reads them. The share of the chip's peak counts three passes of
2 * parameters FLOP per token (forward, recomputed forward, backward through the activations; frozen weights take no
gradient) over `--peak-tflops`, the vendor's dense bf16 figure.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import torch
from parts import NoTraining, configured, word_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from cmt_cli.core.batch import Row
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.memory.records import Records
from cmt_cli.methods.amortized.amortizer import Item
from cmt_cli.methods.amortized.cmt import Cmt

SHAPES = {
    "llama2_7b": {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "small": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
}
DOCUMENT_TOKENS, QUESTION_TOKENS, ANSWER_TOKENS = 200, 24, 6  # like StreamingQA's passages and questions


def random_learner(shape: str, device: str) -> Learner:
    """Return a learner with random weights, made on the device in bf16 (fp32 on CPU)."""
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=4096, attn_implementation="sdpa")
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(dtype)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    tokenizer = word_tokenizer(config.vocab_size)
    return Learner(model, tokenizer, name=shape, revision="random", max_tokens=4096)


def method() -> Cmt:
    """Return CMT as the Llama-2 experiment has it."""
    built: Cmt = configured("experiment=llama2_streamingqa").build("method")
    return built


def random_items(vocab: int, number: int) -> list[Item]:
    """Return questions with documents of random tokens."""
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, vocab, (length,), generator=generator).tolist())

    items = []
    for i in range(number):
        question = draw(QUESTION_TOKENS)
        items.append(Item(str(i), draw(DOCUMENT_TOKENS), question, Row(str(i), question + draw(ANSWER_TOKENS), 24)))
    return items


def timed(function: Any, repeats: int, device: str) -> float:
    """Return the mean seconds of a call after one warm-up."""
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def measure(shape: str, device: str, peak_tflops: float) -> dict[str, Any]:
    """Return the figures of one device."""
    learner, cmt = random_learner(shape, device), method()
    vocab, batch, micro = SHAPES[shape]["vocab_size"], 32, 8
    items = random_items(vocab, 64)
    cmt.before_stream(learner, _episodes(learner), NoTraining())  # builds the layers and the bank
    objective = cmt.objective(learner, items)
    parameters = [p for group in objective.param_groups() for p in group.parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)

    def train() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            objective.backward(range(batch), micro_batch_size=micro, step=0, num_steps=1)
        optimizer.step()
        optimizer.zero_grad()

    train_seconds = timed(train, 3, device)
    documents = [item.document for item in items]
    with torch.no_grad():
        adapt_seconds = timed(lambda: [cmt.encode(documents[i : i + 32]) for i in (0, 32)], 3, device) / len(items)
        fill(cmt, documents)
    prompts = [Prompt(str(i), " ".join(f"w{t}" for t in item.question)) for i, item in enumerate(items)]
    decoding = Decoding(max_new_tokens=16, batch_size=64, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
    answer_seconds = timed(lambda: cmt.predictor(learner, 0).generate(prompts, decoding), 2, device) / len(prompts)
    num_parameters = sum(p.numel() for p in learner.model.parameters())
    passages = batch * (DOCUMENT_TOKENS + QUESTION_TOKENS + 2 * 24)
    techniques = cmt.techniques
    spans = techniques.reconstruction_tokens if techniques.reconstruction_weight > 0 else 0
    answers = batch * (
        3 * (QUESTION_TOKENS + ANSWER_TOKENS) + spans
    )  # behind the aggregate, the own and another memory
    # forward, recomputed forward and the backward pass through the activations: three passes of 2 FLOP per parameter
    flop = 3 * 2 * num_parameters * (passages + answers)
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "date": datetime.date.today().isoformat(),
        "shape": shape,
        "parameters": num_parameters,
        "trainable_parameters": sum(p.numel() for p in parameters),
        "meta_training_tokens_per_second": (passages + answers) / train_seconds,
        "share_of_peak": flop / train_seconds / (peak_tflops * 1e12),
        "adaptation_documents_per_second": 1 / adapt_seconds,
        "answers_per_second": 1 / answer_seconds,
        "peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
    }


def _episodes(learner: Learner) -> Any:
    from cmt_cli.core.stream import Document, Episode, Episodes, Example

    example = Example("q", "w5 w6", " w7", ("w7",), (), ("d",))
    return Episodes(train=[Episode((Document("d", "w8 w9 w7"),), (example,))])


def fill(cmt: Cmt, documents: list[tuple[int, ...]]) -> None:
    """Store the memories of 32 documents."""
    memories = cmt.encode(documents[:32])
    names = [str(i) for i in range(32)]
    cmt.bank.append(Records(document_ids=names, sha256=names, memories=memories, keys=cmt.amortizer.keys(memories)))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llama2_7b")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bf16 peak of the device")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.shape == "llama2_7b" and device == "cpu":
        raise SystemExit("No CUDA device here: the table stays 'not run'. Try --shape small.")
    figures = measure(arguments.shape, device, arguments.peak_tflops)
    print(json.dumps(figures, indent=2))
    if arguments.shape == "llama2_7b":
        results = Path(__file__).parent / "results"
        results.mkdir(exist_ok=True)
        (results / "gpu.json").write_text(json.dumps(figures, indent=2) + "\n")
        rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in figures.items())
        (results / "gpu.md").write_text(f"# CMT at the shape of Llama-2-7b\n\n| figure | value |\n|---|---|\n{rows}\n")


if __name__ == "__main__":
    main()
