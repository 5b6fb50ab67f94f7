"""Small tasks of lm-evaluation-harness in files, with data beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROWS = [
    {"question": "Which comes after one?", "choices": ["two", "nine hundred", "a red house"], "answer": 0},
    {"question": "Which comes after Monday?", "choices": ["Friday", "Tuesday", "eight"], "answer": 1},
    {"question": "Which comes after March?", "choices": ["May", "winter", "April"], "answer": 2},
    {"question": "Which comes after A?", "choices": ["B", "Z", "Q and R"], "answer": 0},
    {"question": "Which comes after spring?", "choices": ["autumn", "summer", "cold"], "answer": 1},
    {"question": "Which comes after seven?", "choices": ["six", "five", "eight"], "answer": 2},
]
PERPLEXITIES = ("word_perplexity", "byte_perplexity", "bits_per_byte")
MEAN = {"aggregation": "mean", "higher_is_better": True}
KINDS: dict[str, dict[str, Any]] = {
    "choice": {
        "output_type": "multiple_choice",
        "fewshot_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", **MEAN}, {"metric": "acc_norm", **MEAN}],
    },
    "say": {
        "output_type": "generate_until",
        "fewshot_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": " {{choices[answer]}}",
        "generation_kwargs": {"until": ["\n", "e"], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [{"metric": "exact_match", **MEAN, "ignore_case": True}],
    },
    "last_word": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{question}} It is",
        "doc_to_target": " {{choices[answer]}}",
        "metric_list": [
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            {"metric": "acc", **MEAN},
        ],
    },
    "text": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}} Of {{choices}} it is {{choices[answer]}}.",
        "metric_list": [{"metric": name, "higher_is_better": False} for name in PERPLEXITIES],
    },
}


def task_file(folder: Path, kind: str, **changes: Any) -> str:
    """Write a task and its data; return the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "questions.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
    task = {"task": kind, **source, **KINDS[kind], "metadata": {"version": 1.0}, **changes}
    path = folder / f"{task['task']}.yaml"
    path.write_text(yaml.safe_dump(task))
    return str(path)
