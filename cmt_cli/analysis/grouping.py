"""Which runs share a table, and which share a line of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cmt_cli.analysis.repetitions import amount_keys, differing, is_repetition_key
from cmt_cli.analysis.run_index import RunEntry
from cmt_cli.core.exceptions import UserError

_MAX_NAMED = 4  # keys in an error
_HASH_LETTERS = 8  # in a title


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of one line and its names."""

    method: str
    model: str
    settings: str
    entries: tuple[RunEntry, ...]


def leave_out_copies(entries: Sequence[RunEntry]) -> tuple[list[RunEntry], list[tuple[Path, str]]]:
    """Return the runs without those that have settings, seed and data of a later one, and these with the reason."""
    latest: dict[tuple[Any, ...], RunEntry] = {}
    for entry in entries:
        other = latest.setdefault(_identity(entry), entry)
        if entry.stamp[0] > other.stamp[0]:
            latest[_identity(entry)] = entry
    kept = set(map(id, latest.values()))
    copies = [
        (entry.folder, f"a repetition of {latest[_identity(entry)].folder} with the same seed")
        for entry in entries
        if id(entry) not in kept
    ]
    return [entry for entry in entries if id(entry) in kept], copies


def _identity(entry: RunEntry) -> tuple[Any, ...]:
    names = (entry.head[key] for key in ("config_hash", "method", "model", "seed"))
    return (*names, _model_files(entry), entry.detail["experiment"], entry.detail["order"], *_comparable(entry))


def _model_files(entry: RunEntry) -> str:
    """Return one hash of the files that a run's models were loaded from, "" where none are recorded."""
    files = entry.detail["model"].get("sha256")
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:_HASH_LETTERS] if files else ""


def sections_of(entries: Sequence[RunEntry], by: Sequence[str] = ()) -> list[list[RunEntry]]:
    """Return the runs by what makes them comparable; raise UserError where a line of `by` would hold unlike ones."""
    sections: dict[tuple[Any, ...], list[RunEntry]] = {}
    for entry in entries:
        sections.setdefault(_comparable(entry), []).append(entry)
    found = [members for _, members in sorted(sections.items(), key=lambda item: str(item[0]))]
    if by:
        _refuse_unlike_data(found, by)
    return found


def _comparable(entry: RunEntry) -> tuple[Any, ...]:
    data, head = entry.detail["data"], entry.head
    files = tuple(sorted(data["sha256"].items()))
    size = (data.get("num_documents"), data.get("num_questions"))
    tests = tuple(sorted(entry.detail["tests"]))  # orders of one set of tasks are repetitions
    return head["data"], head["source"], head["split"], head["primary_metric"], tests, _probes(entry), files, size


def _probes(entry: RunEntry) -> tuple[tuple[str, str], ...]:
    """Return what a run asked besides its stream, by the hash of the questions."""
    return tuple(sorted(entry.detail.get("probes", {}).items()))  # an index of an older version has none


def files_of(entry: RunEntry) -> str:
    """Return a run's data files by name with the beginning of their hash, "" where there are none."""
    files = sorted(entry.detail["data"]["sha256"].items())
    if not files:
        return ""
    digest = files[0][1] if len(files) == 1 else hashlib.sha256(repr(files).encode()).hexdigest()
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{files[0][0]}{more}, sha256 {digest[:_HASH_LETTERS]}"


def _refuse_unlike_data(sections: Sequence[Sequence[RunEntry]], by: Sequence[str]) -> None:
    seen: dict[tuple[Any, ...], RunEntry] = {}
    for members in sections:
        for entry in members:
            key = (entry.head["data"], entry.head["split"], *_names(entry, by))
            other = seen.setdefault(key, entry)
            if _comparable(other) != _comparable(entry):
                raise UserError(
                    f"--by {','.join(by)} would average runs of '{' '.join(_names(entry, by))}' on other data of "
                    f"'{entry.head['data']}': {_what_differs(other, entry)}. Such runs are never averaged; choose with "
                    f"--where, for instance --where 'folder={other.folder.name}', or leave --by out for a table each."
                )


def _what_differs(first: RunEntry, second: RunEntry) -> str:
    a, b = first.detail["data"], second.detail["data"]
    pair = f"({first.folder.name}; {second.folder.name})"
    if a["source"] != b["source"]:
        return f"the data source is {a['source']} and {b['source']} {pair}"
    files = sorted(name for name in {*a["sha256"], *b["sha256"]} if a["sha256"].get(name) != b["sha256"].get(name))
    if files:
        return f"the files {', '.join(files)} have other contents {pair}"
    if sorted(first.detail["tests"]) != sorted(second.detail["tests"]):
        return f"the tests differ, {len(first.detail['tests'])} and {len(second.detail['tests'])} {pair}"
    if _probes(first) != _probes(second):
        return f"the questions of the probes differ {pair}"
    sizes = [key for key in ("num_documents", "num_questions") if a.get(key) != b.get(key)]
    if sizes:
        return f"{', '.join(f'{key} is {a.get(key)} and {b.get(key)}' for key in sizes)} {pair}"
    return f"the metric is {first.head['primary_metric']} and {second.head['primary_metric']} {pair}"


def grouped(entries: Sequence[RunEntry], by: Sequence[str]) -> list[Group]:
    """Return the lines of one table: by experiment, or by the keys `by`; raise UserError for a merge that misleads."""
    lines: dict[tuple[str, ...], list[RunEntry]] = {}
    several = _models_of_several_files(entries)
    for entry in entries:
        files = _model_files(entry) if entry.head["model"] in several else ""
        experiment = (entry.detail["experiment"], entry.head["method"], entry.head["model"], files)
        lines.setdefault(_names(entry, by) if by else experiment, []).append(entry)
    if by:
        return [_merged(tuple(members), names, by) for names, members in lines.items()]
    varying = _varying([members[0] for members in lines.values()])
    found = [_experiment(tuple(members), varying) for members in lines.values()]
    return [_with_files(group) if group.model in several else group for group in found]


def _models_of_several_files(entries: Sequence[RunEntry]) -> dict[str, list[str]]:
    """Return the models whose runs were made with different files, as hashes; runs that record none may be of any."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        found.setdefault(entry.head["model"], set()).add(_model_files(entry))
    return {model: sorted(files - {""}) for model, files in found.items() if len(files - {""}) > 1}


def _with_files(group: Group) -> Group:
    named = f"model files {_model_files(group.entries[0]) or 'not recorded'}"
    return replace(group, settings=" ".join(filter(None, [group.settings, named])))


def _names(entry: RunEntry, by: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(entry.value(key)) for key in by)


def _varying(firsts: Sequence[RunEntry]) -> dict[tuple[str, str], list[str]]:
    """Return by method and model the settings in which their experiments differ."""
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in firsts:
        alike.setdefault((entry.head["method"], entry.head["model"]), []).append(entry.detail["config"])
    return {
        names: list(differing(configs, [k for k in _all_keys(configs) if not is_repetition_key(k)]))
        for names, configs in alike.items()
    }


def _all_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for config in configs for key in config))


def _experiment(members: tuple[RunEntry, ...], varying: Mapping[tuple[str, str], Sequence[str]]) -> Group:
    head, config = members[0].head, members[0].detail["config"]
    names = (head["method"], head["model"])
    settings = " ".join(f"{key}={config[key]}" for key in varying[names] if key in config)
    return Group(*names, settings, members)


def _merged(members: tuple[RunEntry, ...], names: tuple[str, ...], by: Sequence[str]) -> Group:
    for model, files in _models_of_several_files(members).items():
        raise UserError(
            f"--by {','.join(by)} would average runs of '{' '.join(names)}' whose model '{model}' was loaded from "
            f"different files ({', '.join(files)}). Choose with --where 'folder={members[0].folder.name}', or leave "
            "--by out for a line each."
        )
    configs = [entry.detail["config"] for entry in members]
    models = sorted({entry.head["model"] for entry in members})
    keys = [key for key in _all_keys(configs) if not is_repetition_key(key) and not key.startswith("model.")]
    varying = differing(configs, keys)
    amounts = set().union(*map(amount_keys, configs))
    budget = {key: values for key, values in varying.items() if key in amounts}
    if len(models) > 1:
        budget = {"model": models, **budget}
    if budget:
        raise _other_budgets(budget, names, by)
    methods = sorted({entry.head["method"] for entry in members})
    named = [f"{key}={name}" for key, name in zip(by, names, strict=True) if key not in ("method", "model")]
    mixed = [f"{key}={'|'.join(map(str, values))}" for key, values in varying.items() if key != "method._target_"]
    return Group("|".join(methods), models[0], " ".join([*named, *mixed]), members)


def _other_budgets(budget: Mapping[str, Sequence[Any]], names: Sequence[str], by: Sequence[str]) -> UserError:
    shown = [f"{key} ({'; '.join(map(str, values))})" for key, values in list(budget.items())[:_MAX_NAMED]]
    more = f" and {len(budget) - _MAX_NAMED} more" if len(budget) > _MAX_NAMED else ""
    first, values = next(iter(budget.items()))
    return UserError(
        f"--by {','.join(by)} would average runs of '{' '.join(names)}' that differ in budget, data or model: "
        f"{', '.join(shown)}{more}. Choose with --where '{first}={values[0]}', or keep them apart with "
        f"--by {','.join([*by, first])}."
    )
