"""Writes files of the SQuAD v1.1 layout: the hub's rows as the two published files, and generated articles."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from cmt_cli.data.hub.hub_files import HubFiles, HubSource, Tables
from cmt_cli.data.world.world import Article

TRAIN_FILE, VALIDATION_FILE, TEST_FILE = "train-v1.1.json", "validation-v1.1.json", "dev-v1.1.json"
HUB_FILES = {"train": TRAIN_FILE, "validation": TEST_FILE}  # by the split of the hub


def _write_tables(folder: Path, tables: Tables) -> None:
    for split, name in HUB_FILES.items():
        _write_json(folder / name, _articles_of_rows(tables.rows(split)))


def _articles_of_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the nested layout of the hub's flat rows, in their order."""
    articles: list[dict[str, Any]] = []
    for title, article in groupby(rows, key=lambda row: row["title"]):
        paragraphs = []
        for context, same_context in groupby(article, key=lambda row: row["context"]):
            qas = [
                {
                    "id": row["id"],
                    "question": row["question"],
                    "answers": [
                        {"text": text, "answer_start": start}
                        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
                    ],
                }
                for row in same_context
            ]
            paragraphs.append({"context": context, "qas": qas})
        articles.append({"title": title, "paragraphs": paragraphs})
    return articles


def write(folder: Path, articles: Mapping[str, Sequence[Article]]) -> None:
    """Write articles as train, validation and dev files, one paragraph for each, grouped by topic within a split."""
    for split, name in (("train", TRAIN_FILE), ("validation", VALIDATION_FILE), ("test", TEST_FILE)):
        by_topic: dict[str, list[dict[str, Any]]] = {}
        for article in articles[split]:
            qas = [
                {
                    "id": question.id,
                    "question": question.question,
                    "answers": [_span(article, text) for text in question.answers],
                }
                for question in article.questions
            ]
            by_topic.setdefault(article.topic, []).append({"context": article.document.text, "qas": qas})
        _write_json(folder / name, [{"title": topic, "paragraphs": found} for topic, found in by_topic.items()])


def _span(article: Article, answer: str) -> dict[str, Any]:
    return {"text": answer, "answer_start": article.document.text.find(answer)}


def _write_json(path: Path, articles: list[dict[str, Any]]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        json.dump({"version": "1.1", "data": articles}, stream, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


HUB = HubFiles(
    (
        HubSource(
            dataset="rajpurkar/squad",
            revision="7b6d24c440a36b6815f21b70d25016731768db1f",
            tables={split: f"plain_text/{split}-*.parquet" for split in HUB_FILES},
            columns={
                "id": str,
                "title": str,
                "context": str,
                "question": str,
                "answers": {"text": [str], "answer_start": [int]},
            },
            files=tuple(HUB_FILES.values()),
            write=_write_tables,
        ),
    )
)
