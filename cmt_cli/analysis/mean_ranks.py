"""Mean rank of each line over streams: rank 1 is the best, ties share the mean of their places (Demsar 2006).

Only lines that stand on every stream are ranked, among each other; streams of one source and one split belong together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from cmt_cli.analysis.comparison import Ranking, Section, less_is_better


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
    by_stream = [ranks({n: found[n] for n in complete}, less_is_better=less_is_better(metric)) for found in scores]
    rows = [(n, fmean(found[n] for found in by_stream), tuple(found[n] for found in by_stream)) for n in complete]
    return Ranking(metric, tuple(streams), tuple(sorted(rows, key=lambda row: row[1])), tuple(missing))


def ranks(scores: Mapping[str, float], *, less_is_better: bool = False) -> dict[str, float]:
    """Return each name's place from 1; equal scores share the mean of the places that they take."""
    ordered = sorted(scores.values(), reverse=not less_is_better)
    places: dict[float, list[int]] = {}
    for place, score in enumerate(ordered, start=1):
        places.setdefault(score, []).append(place)
    return {name: fmean(places[score]) for name, score in scores.items()}
