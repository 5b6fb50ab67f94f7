"""F1 of entities over a test set, from counts per type; types that other tasks brought do not count.

    micro  2 tp / (2 tp + fp + fn), each count summed over types
    macro  mean over types of the same F1 of one type; types without any entity in gold and prediction are left out

An entity is found if type and words are equal. Entities of a sentence are multisets: one that is named twice and there
once is one hit and one false alarm. With words that occur once in their sentence this is seqeval's count of spans.

Where the stream tells the labels of its tasks, only the types of the evaluated task count in gold, and predicted types
that only other tasks have are left out. A predicted type that no task has is wrong: a false alarm in micro, but no type
of its own in macro.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cmt_cli.core.spans import Entity, type_name


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The labels that are evaluated, and those of other tasks, which are not; both empty where none are told."""

    evaluated: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()

    @staticmethod
    def of(evaluated: Iterable[str], known: Iterable[str]) -> LabelSpace:
        """Return the space in which some of the stream's known labels are evaluated; with none given all count."""
        chosen = frozenset(map(type_name, evaluated))
        return LabelSpace(chosen, frozenset(map(type_name, known)) - chosen) if chosen else LabelSpace()

    def kept(self, counts: Mapping[str, Counts]) -> dict[str, Counts]:
        """Return the counts that matter: of unknown types only the false alarms."""
        if not self.evaluated:
            return dict(counts)
        return {
            kind: count if kind in self.evaluated else Counts(0, count.fp, 0)
            for kind, count in counts.items()
            if kind not in self.others
        }


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives and false negatives."""

    tp: float
    fp: float
    fn: float

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both together."""
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float | None:
        """Return the share of what was predicted that is right; None where nothing was."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def recall(self) -> float | None:
        """Return the share of gold that was found; None where there is none."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    @property
    def f1(self) -> float | None:
        """Return the harmonic mean of precision and recall; None where there is nothing in gold and prediction."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else None


NONE = Counts(0, 0, 0)


def span_counts(gold: Sequence[Entity], predicted: Sequence[Entity]) -> dict[str, Counts]:
    """Return the counts of each type that occurs."""
    wanted, said = Counter(gold), Counter(predicted)
    tp, fp, fn = (_by_type(part) for part in (wanted & said, said - wanted, wanted - said))
    return {kind: Counts(tp[kind], fp[kind], fn[kind]) for kind in sorted(tp | fp | fn)}


def _by_type(entities: Counter[Entity]) -> Counter[str]:
    found: Counter[str] = Counter()
    for entity, count in entities.items():
        found[entity.type] += count
    return found


def summed(counts: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Return the counts of each type over all examples."""
    sums: dict[str, Counts] = {}
    for by_type in counts:
        for kind, new in by_type.items():
            sums[kind] = sums.get(kind, NONE) + new
    return sums


def micro_f1(counts: Mapping[str, Counts], labels: LabelSpace) -> float | None:
    """Return F1 of all entities together; None where there are none."""
    return sum(labels.kept(counts).values(), NONE).f1


def macro_f1(counts: Mapping[str, Counts], labels: LabelSpace) -> float | None:
    """Return the mean of the types' F1; None where there are no entities."""
    scores = [count.f1 for kind, count in counts.items() if not labels.evaluated or kind in labels.evaluated]
    found = [score for score in scores if score is not None]
    return sum(found) / len(found) if found else None
