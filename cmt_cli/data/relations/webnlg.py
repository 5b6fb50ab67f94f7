"""WebNLG read backwards: from a text to its triples, one category of things after the other (Gardent et al. 2017).

The files of release_v2 (fuzihaofzh/webnlg-dataset, webnlg/challenge-2017): xml by split and number of triples,
`xml/train/1triples/1triple_allSolutions_City_train_release.xml`; also release_v3 (xml under `en`):

    <benchmark><entries>
      <entry category="City" eid="Id1" size="1">
        <modifiedtripleset><mtriple>Otto_Town | mayor | Ann_Lee</mtriple></modifiedtripleset>
        <lex comment="good" lid="Id1">Ann Lee is the mayor of Otto Town.</lex>
      </entry>
    </entries></benchmark>

Joint extraction as in CopyRE (Zeng et al. 2018, P18-1047): the answer to a text is all its triples, written as
"Otto Town | mayor | Ann Lee", several joined by "; " in the order of the file, and scored as a set of triples
(`triple_f1`); em accepts any order of up to three. Domain-incremental by category. Document types are refused, so no
entity is ever expanded. CC BY-NC-SA 4.0. Chance is 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.opening import PACKED_ENDINGS
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.xml_document import Element, read_xml
from cmt_cli.data.hub.hub_files import CONVERTED, HubFiles, HubSource, Tables
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy, by_task, label_groups
from cmt_cli.data.labelled.labelled_files import Generator, LabelledLayout, clean_corpus, files_at
from cmt_cli.data.labelled.labelled_stream import Format, Limits, labelled_stream

FOLDER_OF_SPLIT = {"train": "train", "validation": "dev", "test": "test"}
PLACES = (".", "xml", "release_v2/xml", "en", "release_v3.0/en")
_ENDINGS = (".xml", *(f".xml{packed}" for packed in PACKED_ENDINGS))
BETWEEN, WITHIN = "; ", " | "
MOST_PERMUTED = 3
_SPACES = re.compile(r"[^\S ]\s*| \s+")  # other than one space, so that a long text is not held word by word


def webnlg(
    *,
    path: str,
    default_path: str,
    source: str,
    auto_may_generate: bool,
    cache: str,
    on_bad_row: str,
    order: Sequence[str] | None,
    order_seed: int | None,
    max_triples: int | None,
    split_policy: SplitPolicy,
    limits: Limits,
    format: Format,
    generated: Generator,
) -> Stream:
    """Return WebNLG with a task for each category.

    `order` names the categories; None takes all that have training rows, shuffled by `order_seed` (None: as the files
    are sorted). Texts of more than `max_triples` triples are left out; None keeps all.
    """
    files = files_at(path, default_path, source, auto_may_generate, cache, on_bad_row)
    corpus, provenance = clean_corpus(LAYOUT, files, generated, split_policy, format)
    if max_triples is not None and max_triples < 1:
        raise UserError(f"data.max_triples={max_triples} is too small; give 1 or more, or null for all.")
    splits = {
        name: [item for item in items if max_triples is None or len(item.labels) <= max_triples]
        for name, items in corpus.splits.items()
    }
    categories = dict.fromkeys(item.task for item in splits["train"])
    names = order or label_groups(categories, num_tasks=1, labels_per_task=None, seed=order_seed)[0]
    return labelled_stream(by_task(splits, names), labels=(), limits=limits, format=format, provenance=provenance)


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read the xml files of a release."""
    problems: list[Problem] = []
    files: list[Path] = []
    splits: dict[str, list[Item]] = {}
    for split, name in FOLDER_OF_SPLIT.items():
        folder = next((path / place / name for place in PLACES if (path / place / name).is_dir()), None)
        found = sorted(file for file in folder.rglob("*") if file.name.endswith(_ENDINGS)) if folder else []
        if not found:
            problems.append(Problem(path, None, f"holds no folder {name} with xml files"))
        splits[split] = []
        for file in found:
            splits[split] += _items(file, split, problems)
        files += found
    return LabelledCorpus(splits, tuple(files)), problems


def _items(file: Path, split: str, problems: list[Problem]) -> list[Item]:
    root = read_xml(file, problems)
    if root is None:
        return []
    entries = root.all("entry")
    if not entries:
        problems.append(Problem(file, None, "holds no <entry>"))
    items: list[Item] = []
    for index, entry in enumerate(entries):
        fault = _fault(entry)
        if fault:
            problems.append(Problem(file, entry.line, fault))
            continue
        triples = [_triple(triple.text) for triple in _triples(entry)]
        answers = [BETWEEN.join(t) for t in permutations(triples)] if len(triples) <= MOST_PERMUTED else []
        references = tuple(dict.fromkeys([BETWEEN.join(triples), *answers]))
        relations = tuple(triple.split(WITHIN)[1] for triple in triples)
        for number, lex in enumerate(entry.all("lex")):
            name = f"{split}-{file.name.partition('.')[0]}-{index:04d}-{number}"
            text = _SPACES.sub(" ", lex.text).strip()
            items.append(Item(name, entry.attributes["category"], {"text": text}, references, relations))
    return items


def _triples(entry: Element) -> list[Element]:
    return [triple for found in entry.all("modifiedtripleset") for triple in found.all("mtriple")]


def _triple(text: str) -> str:
    return WITHIN.join(_words(part) for part in text.split("|"))


def _words(part: str) -> str:
    """Return a part of a triple as one writes it: Ann_Lee is Ann Lee, and "1987" loses its quotes."""
    text = " ".join(part.replace("_", " ").split())
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text


def _fault(entry: Element) -> str | None:
    if not entry.attributes.get("category", "").strip():
        return "the entry has no category"
    triples = _triples(entry)
    if not triples:
        return "the entry has no <mtriple> in a <modifiedtripleset>"
    for triple in triples:
        parts = [_words(part) for part in triple.text.split("|")]
        if len(parts) != 3 or not all(parts):
            return f"'{triple.text.strip()[:60]}' must be subject | relation | object"
    texts = entry.all("lex")
    if not texts:
        return "the entry has no <lex>"
    return "the entry has an empty <lex>" if any(not lex.text.strip() for lex in texts) else None


def write(folder: Path, corpus: LabelledCorpus) -> None:
    """Write a corpus in this layout."""
    for split, name in FOLDER_OF_SPLIT.items():
        groups: dict[tuple[str, int], list[Item]] = {}
        for item in corpus.splits[split]:
            groups.setdefault((item.task, len(item.labels)), []).append(item)
        for (category, size), items in groups.items():
            file = folder / "xml" / name / f"{size}triples" / f"{size}triples_{category}_{name}_release.xml"
            file.parent.mkdir(parents=True, exist_ok=True)
            entries = "".join(_entry(item, index) for index, item in enumerate(items, start=1))
            document = f"<?xml version='1.0' encoding='utf-8'?>\n<benchmark>\n  <entries>\n{entries}"
            file.write_text(f"{document}  </entries>\n</benchmark>\n", encoding="utf-8")


def _entry(item: Item, index: int) -> str:
    triples = "".join(
        f"        <mtriple>{escape(triple.replace(WITHIN, '|').replace(' ', '_').replace('|', WITHIN))}</mtriple>\n"
        for triple in item.references[0].split(BETWEEN)
    )
    return (
        f'    <entry category={quoteattr(item.task)} eid="Id{index}" size="{len(item.labels)}">\n'
        f"      <modifiedtripleset>\n{triples}      </modifiedtripleset>\n"
        f'      <lex comment="good" lid="Id1">{escape(item.fields["text"])}</lex>\n    </entry>\n'
    )


def _write_tables(folder: Path, tables: Tables) -> None:
    """Write one file for each split, its entries in the order of the release's files: by size, then by category."""
    for split, name in FOLDER_OF_SPLIT.items():
        rows = sorted(tables.rows(split), key=lambda row: (row["size"], row["category"]))
        file = folder / _hub_file(name)
        file.parent.mkdir(parents=True)
        with file.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write("<?xml version='1.0' encoding='utf-8'?>\n<benchmark>\n  <entries>\n")
            stream.writelines(_hub_entry(row) for row in rows)
            stream.write("  </entries>\n</benchmark>\n")


def _hub_file(name: str) -> str:
    return f"xml/{name}/release_v2_{name}.xml"


def _hub_entry(row: Mapping[str, Any]) -> str:
    sets = "".join(
        "      <modifiedtripleset>\n"
        + "".join(f"        <mtriple>{escape(triple)}</mtriple>\n" for triple in triples)
        + "      </modifiedtripleset>\n"
        for triples in row["modified_triple_sets"]["mtriple_set"]
    )
    texts = "".join(f"      <lex>{escape(text)}</lex>\n" for text in row["lex"]["text"])
    category, name = quoteattr(row["category"]), quoteattr(row["eid"])
    return f'    <entry category={category} eid={name} size="{row["size"]}">\n{sets}{texts}    </entry>\n'


HUB = HubFiles(
    (
        HubSource(
            dataset="webnlg-challenge/web_nlg",
            revision=CONVERTED,
            tables={split: f"release_v2/{name}/*.parquet" for split, name in FOLDER_OF_SPLIT.items()},
            columns={
                "category": str,
                "size": int,
                "eid": str,
                "modified_triple_sets": {"mtriple_set": [[str]]},
                "lex": {"text": [str]},
            },
            files=tuple(_hub_file(name) for name in FOLDER_OF_SPLIT.values()),
            write=_write_tables,
        ),
    )
)
LAYOUT: LabelledLayout = Layout(
    name="webnlg",
    license="CC BY-NC-SA 4.0",
    how_to_get="Put the folder xml of github.com/fuzihaofzh/webnlg-dataset (release_v2, with train, dev and test) "
    "into {path}.",
    read=read,
    write=write,
    hub=HUB,
)
