"""Questions about a stream of documents: the main table of MAC, which CMT's compares with; three streams, four models.

The question: does CMT answer more than MAC, CaMeLS and fine-tuning on the same documents with the same base model?
No cell was run: it takes the papers' files and a GPU.
"""

from __future__ import annotations

from published import Cell, Job, Source, Table, main

MAC = Source(
    "Tack et al. 2024 (MAC), NeurIPS 2024, arXiv 2403.04317, Table 1; EM and F1 in percent. Its EM counts a prediction "
    "that begins with the answer, its F1 compares with the shortest reference",
    "recalled",
)
CMT = Source(
    "Li et al. 2025 (CMT), AAAI-25, arXiv 2412.07393: the abstract gives +4.07 EM and +4.19 F1 on StreamingQA with "
    "Llama-2-7b over an unnamed baseline; its table is not in our notes",
    "missing",
)
MBC = Source("Katraouras and Rafailidis 2026 (MBC), arXiv 2601.00756; its table is not in our notes", "missing")
STREAMS = {"streamingqa": "StreamingQA", "squad": "SQuAD", "archivalqa": "ArchivalQA"}
MODELS = {"distilgpt2": "DistilGPT2", "gpt2_large": "GPT2-Large", "gpt2_xl": "GPT2-XL", "llama2_7b": "LLaMA-2-7B"}
PROTOCOL = ("data.source=real", 'data.prompt_template="{question}"', "trainer=paper", "evaluator=diverse_beams")
FINE_TUNED = "method.budget.learning_rate=2.5e-5"  # README example of CaMeLS; its sweep is 1e-4 .. 1.5625e-6
# EM and F1 on the three streams in turn
NUMBERS: dict[str, dict[str, tuple[float | str, ...]]] = {
    "distilgpt2": {
        "Uniform": (1.62, 3.76, 1.24, 2.54, 4.86, 4.08),
        "Salient Spans": (1.44, 4.67, 1.03, 2.47, 4.52, 3.76),
        "CaMeLS": (1.62, 5.79, 1.47, 3.08, 4.62, 6.19),
        "MAC": (5.59, 10.18, 2.01, 6.85, 7.55, 10.58),
    },
    "gpt2_large": {
        "Uniform": (4.74, 7.00, 3.64, 4.97, 7.66, 8.71),
        "Salient Spans": (4.86, 8.54, 4.03, 6.48, 9.75, 11.19),
        "CaMeLS": (5.35, 10.60, 4.97, 8.63, 9.92, 12.41),
        "MAC": (7.25, 13.31, 6.43, 11.42, 11.84, 15.26),
    },
    "gpt2_xl": {
        "Uniform": (5.11, 7.48, 6.10, 6.78, 8.61, 10.78),
        "Salient Spans": (5.40, 9.42, 4.55, 6.74, 11.81, 14.11),
        "CaMeLS": (6.55, 11.67, 6.70, 10.15, 13.87, 15.74),
        "MAC": (8.99, 15.38, 7.10, 12.55, 14.01, 17.12),
    },
    "llama2_7b": {
        "Uniform": (12.43, 13.54, 13.25, 17.01, 18.53, 21.35),
        "Salient Spans": (13.33, 18.97, 13.74, 18.66, 18.97, 22.75),
        "CaMeLS": ("out of memory",) * 6,
        "MAC": (14.29, 21.79, 15.07, 21.14, 20.12, 23.90),
    },
}
PROXY = "the paper takes the weight model of DistilGPT2 over, which method=camels does not do"


def job_of(row: str, stream: str, model: str) -> Job | None:
    """Return the overrides of a cell, None where this package cannot run it."""
    batch = ("trainer.meta.batch_size=64",) if model == "distilgpt2" else ()
    slots = ("method.parts.compressor.num_slots=24",) if model != "distilgpt2" else ()
    if row in ("Uniform", "Salient Spans"):
        method = row.lower().replace(" ", "_")
        return (f"method={method}", f"data={stream}", f"model={model}", *PROTOCOL, FINE_TUNED)
    if row == "CaMeLS":
        return ("method=camels", f"data={stream}", f"model={model}", *PROTOCOL) if model == "distilgpt2" else None
    if row == "MAC":
        return ("experiment=mac_paper", "method=mac", f"data={stream}", f"model={model}", *slots, *batch)
    experiment = "distilgpt2_streamingqa" if model == "distilgpt2" else "llama2_streamingqa"
    return (f"experiment={experiment}", f"method={row.lower()}", f"data={stream}", f"model={model}")


def cells() -> list[Cell]:
    """Return the cells, stream by stream and model by model."""
    found = []
    for place, stream in enumerate(STREAMS):
        for model in MODELS:
            for row in ("Uniform", "Salient Spans", "CaMeLS", "MAC", "MBC", "CMT"):
                numbers = NUMBERS[model].get(row)
                printed = dict(zip(("EM", "F1"), numbers[2 * place : 2 * place + 2], strict=True)) if numbers else {}
                source = {"MBC": MBC, "CMT": CMT}.get(row, MAC)
                job = job_of(row, stream, model)
                column = f"{STREAMS[stream]}, {MODELS[model]}"
                found.append(Cell(row, column, printed, source, (job,) if job else (), "" if job else PROXY))
    return found


TABLE = Table(
    name="cmt",
    title="CMT and MAC: three streams, four base models",
    metrics={"EM": "em_prefix/aa", "F1": "f1_shortest/aa"},
    cells=tuple(cells()),
    notes=(
        "Ours are means over the ten batches of the stream after the last one, which weigh alike; the papers' are over "
        "all questions.",
        "The papers' StreamingQA files are a selection of their own; SQuAD is the first 1,665 paragraphs of its dev "
        "file; ArchivalQA needs the licensed NYT corpus.",
        "The parts of CMT that its paper does not give are our reading of it; see cmt_cli/methods/amortized/cmt.py.",
    ),
)

if __name__ == "__main__":
    main(TABLE)
