"""Class-incremental intents: CLINC150 in 15 tasks and Banking77 in 7, without replay, on Pythia-410m.

The question: does a frozen model with a classifier of cosines (SEQ*) beat distillation and generative replay? No cell
was run: it takes the data sets' files and hours of a GPU.
"""

from __future__ import annotations

from published import Cell, Job, Source, Table, main

PAPER = Source(
    "Zheng et al. 2024 (Learn or Recall?), arXiv 2312.07887, Table 7: accuracy after the last task (A_T) and averaged "
    "over tasks (A); percent",
    "read",
)
MODEL = ("model=huggingface", "model.name_or_path=EleutherAI/pythia-410m", "data.source=real")
FULL = "trainable@method.trainable=full"
CLASSIFIER = (
    "method=seq_star",
    FULL,
    "trainer.task.num_epochs=5",
    "trainer.task.learning_rate=1e-5",
    "trainer.task.schedule=constant",
    "method.head.lr_multiplier=100",
)
JOBS: dict[str, Job] = {
    "SEQ (linear)": (
        *CLASSIFIER,
        "method.head.kind=linear",
        "method.head.freezes_old_rows=false",
        "method.head.num_reserved_labels=0",
        "method.backbone.freezes=false",
    ),
    "LAMOL_t": ("method=generative_replay", FULL),
    "LAMOL_g": ("method=generative_replay", FULL, r'method.generation.marker="Example:\n"'),
    "LAMOL_KD": ("method=distillation_pseudo", FULL),
    "SEQ*": (*CLASSIFIER, "method.head.kind=cosine", "method.head.num_reserved_labels=140"),
}
NUMBERS = {  # A_T and A on CLINC150, then on Banking77
    "SEQ (linear)": (12.26, 28.33, 14.88, 34.17),
    "LAMOL_t": (43.37, 67.77, 57.00, 78.13),
    "LAMOL_g": (35.43, 60.67, None, None),
    "L2KD": (22.48, 51.23, None, None),
    "PCLL": (47.09, 71.72, None, None),
    "LAMOL_KD": (41.99, 68.08, None, None),
    "SEQ*": (84.51, 89.43, 67.12, 75.54),
}


def cells() -> list[Cell]:
    """Return the cells, stream by stream."""
    found = []
    for place, (stream, column) in enumerate((("clinc150", "CLINC150"), ("banking77", "Banking77"))):
        for row, numbers in NUMBERS.items():
            printed = dict(zip(("A_T", "A"), numbers[2 * place : 2 * place + 2], strict=True))
            job = JOBS.get(row)
            jobs = ((*job, f"data={stream}", *MODEL),) if job else ()
            found.append(Cell(row, column, printed, PAPER, jobs, "" if jobs else f"{row} is not a method here"))
    return found


TABLE = Table(
    name="clinc150",
    title="CLINC150 and Banking77, class-incremental",
    metrics={"A_T": "aa", "A": "aia"},
    cells=tuple(cells()),
    notes=(
        "All tasks of a stream have as many intents, so our means over tasks are accuracies over all intents seen.",
        "Budgets are those of conf/method and trainer=default, except for the rates of SEQ and SEQ*.",
    ),
)

if __name__ == "__main__":
    main(TABLE)
