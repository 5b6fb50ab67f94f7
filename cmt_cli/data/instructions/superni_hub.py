"""The 15 tasks of SAPT's orders from the hub's copy of Super-NaturalInstructions, one file a task as upstream has it.

The copy (Muennighoff/natural-instructions) has a line of json for each output of an instance, in
`train/TASK_train.jsonl` or `test/TASK_test.jsonl`, and no positive examples: `shots.number` must stay 0 with it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cmt_cli.data.hub.hub_files import MAIN, HubFiles, HubSource, Tables

TASKS = (
    "task002_quoref_answer_generation",
    "task073_commonsenseqa_answer_generation",
    "task181_outcome_extraction",
    "task363_sst2_polarity_classification",
    "task511_reddit_tifu_long_text_summarization",
    "task591_sciq_answer_generation",
    "task639_multi_woz_user_utterance_generation",
    "task748_glucose_reverse_cause_event_detection",
    "task875_emotion_classification",
    "task1290_xsum_summarization",
    "task1510_evalution_relation_extraction",
    "task1572_samsum_summary",
    "task1590_diplomacy_text_generation",
    "task1687_sentiment140_classification",
    "task1729_personachat_generate_next",
)


def _write_tables(folder: Path, tables: Tables) -> None:
    for task in TASKS:
        definition = ""
        instances: dict[str, dict[str, Any]] = {}
        for row in tables.rows(task):
            definition = row["definition"]
            instance = instances.setdefault(row["id"], {"id": row["id"], "input": row["inputs"], "output": []})
            instance["output"].append(row["targets"])
        content = {"Definition": [definition], "Positive Examples": [], "Instances": list(instances.values())}
        (folder / f"{task}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


HUB = HubFiles(
    (
        HubSource(
            dataset="Muennighoff/natural-instructions",
            revision=MAIN,
            tables={task: f"*/{task}_*.jsonl" for task in TASKS},
            columns=dict.fromkeys(("id", "definition", "inputs", "targets"), str),
            files=tuple(f"{task}.json" for task in TASKS),
            write=_write_tables,
        ),
    )
)
