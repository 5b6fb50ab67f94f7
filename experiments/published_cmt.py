"""Questions about a stream of documents: the main table of MAC, which CMT's compares with; three streams, four models.

The question: does CMT answer more than MAC, CaMeLS and fine-tuning on the same documents with the same base model?
No cell was run: it takes the papers' files and a GPU. The papers' tables are still to be read: no number of theirs is
here.
"""

from __future__ import annotations

from published import Cell, Job, Source, Table, main

MAC = Source(
    "Tack et al. 2024 (MAC), NeurIPS 2024, arXiv 2403.04317, Table 1; EM and F1 in percent. Its EM counts a prediction "
    "that begins with the answer, its F1 compares with the shortest reference",
    "unchecked",
)
CMT = Source(
    "Li et al. 2025 (CMT), AAAI-25, arXiv 2412.07393: the abstract gives +4.07 EM and +4.19 F1 on StreamingQA with "
    "Llama-2-7b over an unnamed baseline",
    "unchecked",
)
MBC = Source("Katraouras and Rafailidis 2026 (MBC), arXiv 2601.00756", "unchecked")
STREAMS = {"streamingqa": "StreamingQA", "squad": "SQuAD", "archivalqa": "ArchivalQA"}
MODELS = {"distilgpt2": "DistilGPT2", "gpt2_large": "GPT2-Large", "gpt2_xl": "GPT2-XL", "llama2_7b": "LLaMA-2-7B"}
PROTOCOL = ("data.source=real", 'data.prompt_template="{question}"', "trainer=paper", "evaluator=diverse_beams")
FINE_TUNED = "method.budget.learning_rate=2.5e-5"  # README example of CaMeLS; its sweep is 1e-4 .. 1.5625e-6
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
    for stream in STREAMS:
        for model in MODELS:
            for row in ("Uniform", "Salient Spans", "CaMeLS", "MAC", "MBC", "CMT"):
                source = {"MBC": MBC, "CMT": CMT}.get(row, MAC)
                job = job_of(row, stream, model)
                column = f"{STREAMS[stream]}, {MODELS[model]}"
                found.append(Cell(row, column, {}, source, (job,) if job else (), "" if job else PROXY))
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
