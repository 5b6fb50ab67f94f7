"""Several runs side by side: mean and spread over seeds and orders of what each method scored and used.

Runs are repetitions of one experiment when their configs agree in everything but seeds and the order of the tasks (see
repetitions.py). `by` merges them by keys instead, and is refused where that would average other budgets, models, data
sources or test files. Experiments stand in one table only when they answered the same tests from the same source:
generated and real data are never mixed, nor the test and the validation split. Of runs with the same settings and seed
the latest counts.

The deviation is the sample standard deviation (n - 1); a single run has none. Mean ranks are over streams: rank 1 is
the best, ties share the mean of their places (Demsar 2006); only lines that stand on every stream of one source and one
split are ranked, among each other. Paired tests: paired_tests.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from cmt_cli.analysis.comparison import (
    COSTS,
    INTERVALS,
    SCORES,
    Comparison,
    Line,
    Options,
    Ranking,
    Section,
    Value,
    less_is_better,
    lines_named,
)
from cmt_cli.analysis.grouping import Group, files_of, grouped, leave_out_copies, sections_of
from cmt_cli.analysis.paired_tests import differences
from cmt_cli.analysis.run_index import Progress, RunEntry, list_runs
from cmt_cli.analysis.selection import check_key, parse, select
from cmt_cli.analysis.statistics import bootstrap_interval, deviation, mean
from cmt_cli.core.exceptions import UserError, counted, nearest

_MAX_NAMED = 12  # lines in an error


def compare(folders: Sequence[Path], options: Options | None = None, progress: Progress | None = None) -> Comparison:
    """Compare the runs in or below `folders`; raise UserError where there is none or runs must not be averaged."""
    chosen = options or Options()
    if chosen.interval not in INTERVALS:
        raise UserError(f"--interval {chosen.interval}: allowed are {', '.join(INTERVALS)}.")
    entries = _entries(folders, chosen, progress)
    complete = [entry for entry in entries if entry.head["status"] == "complete"]
    left_out = [(e.folder, str(e.head["status"])) for e in entries if e.head["status"] != "complete"]
    complete, copies = leave_out_copies(complete)
    _check_metrics(complete, chosen.metrics)
    sections, files, notes = list[Section](), list[str](), list[str]()
    for members in sections_of(complete, by=chosen.by):
        groups = grouped(members, chosen.by)
        section = _section(groups, chosen)
        found, note = differences(section, groups, chosen, progress)
        notes += [note] if note else []
        sections.append(replace(section, differences=tuple(found)))
        files.append(files_of(members[0]))
    sections = _told_apart(sections, files)
    _check_baseline(sections, chosen.baseline)
    ranked = rankings(sections, chosen.metrics or ("aa",))
    return Comparison(tuple(sections), (*left_out, *copies), ranked, tuple(notes))


def _entries(folders: Sequence[Path], options: Options, progress: Progress | None) -> list[RunEntry]:
    runs = {entry.folder.resolve(): entry for folder in folders for entry in list_runs(folder, progress)}
    if not runs:
        raise UserError(f"No runs were found in {', '.join(map(str, folders))}: a run folder holds a result.json.")
    found = select(list(runs.values()), parse(options.where))
    if not found:
        raise UserError(f"None of the {counted(len(runs), 'run')} is chosen by --where {' '.join(options.where)}.")
    for key in options.by:
        check_key(found, key)
    return found


def _check_metrics(entries: Sequence[RunEntry], metrics: Sequence[str]) -> None:
    known = dict.fromkeys((*(name for entry in entries for name in entry.detail["metrics"]), *SCORES, *COSTS))
    for name in metrics:
        if name not in known:
            raise UserError(
                f"--metric {name}: none of the runs has it.{nearest(name, known)} `cmt show RUN` prints a run's "
                "metrics; `cmt metrics RUN` tells which others its stored predictions allow."
            )


def _section(groups: Sequence[Group], options: Options) -> Section:
    scores = options.metrics or SCORES
    columns = dict.fromkeys((*scores, "aa", *COSTS))
    lines = [_line(group, columns, options) for group in groups]
    lines.sort(key=lambda line: -(line.values["aa"].mean or 0.0))
    head = groups[0].entries[0].head
    return Section(
        head["data"],
        head["source"],
        head["split"],
        head["primary_metric"],
        len(groups[0].entries[0].detail["tests"]),
        tuple(lines),
        tuple(scores),
    )


def _told_apart(sections: Sequence[Section], files: Sequence[str]) -> list[Section]:
    """Return the sections, those that would have one title with their files in it."""
    titles = [(s.data, s.source, s.split, s.primary_metric, s.num_tests) for s in sections]
    times = Counter(titles)
    return [
        replace(section, files=own) if times[title] > 1 else section
        for section, title, own in zip(sections, titles, files, strict=True)
    ]


def _line(group: Group, columns: Mapping[str, None], options: Options) -> Line:
    values = {name: _value([entry.value(name) for entry in group.entries], name, options) for name in columns}
    seeds = tuple(sorted(entry.head["seed"] for entry in group.entries))
    folders = tuple(entry.folder for entry in group.entries)
    orders = len({entry.detail["order"] for entry in group.entries})
    return Line(group.method, group.model, group.settings, seeds, values, folders, orders)


def _value(values: Sequence[float | None], name: str, options: Options) -> Value:
    known = [value for value in values if value is not None]
    if options.interval != "bootstrap" or name in COSTS:
        return Value(mean(known), deviation(known))
    drawn = bootstrap_interval(known, level=options.level, num_resamples=options.num_resamples, seed=options.seed)
    return Value(mean(known), deviation(known), drawn)


def _check_baseline(sections: Sequence[Section], baseline: str | None) -> None:
    if baseline is not None and not any(lines_named(section, baseline) for section in sections):
        labels = list(dict.fromkeys(line.label for section in sections for line in section.lines))
        methods = {line.method for section in sections for line in section.lines}
        raise UserError(
            f"--baseline {baseline}: there is no such line.{nearest(baseline, [*methods, *labels])} "
            f"There are: {'; '.join(labels[:_MAX_NAMED])}{' and others' if len(labels) > _MAX_NAMED else ''}."
        )


def rankings(sections: Sequence[Section], metrics: Sequence[str]) -> tuple[Ranking, ...]:
    """Return a ranking for each metric and for each source and split with two or more streams."""
    kinds: dict[tuple[str, str], list[Section]] = {}
    for section in sections:
        kinds.setdefault((section.source, section.split), []).append(section)
    several = [group for group in kinds.values() if len(group) > 1]
    return tuple(found for group in several for metric in metrics if (found := _ranking(group, metric)) is not None)


def _ranking(sections: Sequence[Section], metric: str) -> Ranking | None:
    scores = [
        {line.label: value for line in s.lines if (value := line.values[metric].mean) is not None} for s in sections
    ]
    names = [section.data for section in sections]
    streams = [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]
    every = list(dict.fromkeys(label for found in scores for label in found))
    complete = [label for label in every if all(label in found for found in scores)]
    missing = [
        (label, ", ".join(name for name, found in zip(streams, scores, strict=True) if label not in found))
        for label in every
        if label not in complete
    ]
    if len(complete) < 2:
        return None
    by_stream = [ranks({n: found[n] for n in complete}, ascending=less_is_better(metric)) for found in scores]
    rows = [(n, fmean(found[n] for found in by_stream), tuple(found[n] for found in by_stream)) for n in complete]
    return Ranking(metric, tuple(streams), tuple(sorted(rows, key=lambda row: row[1])), tuple(missing))


def ranks(scores: Mapping[str, float], *, ascending: bool = False) -> dict[str, float]:
    """Return each name's place from 1, the highest first unless `ascending`; ties share the mean of their places."""
    ordered = sorted(scores.values(), reverse=not ascending)
    places: dict[float, list[int]] = {}
    for place, score in enumerate(ordered, start=1):
        places.setdefault(score, []).append(place)
    return {name: fmean(places[score]) for name, score in scores.items()}
