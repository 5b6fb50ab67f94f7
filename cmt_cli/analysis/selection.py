"""Choose runs by conditions such as `data=streamingqa, trainer.task.num_epochs>1, method=cmt|mac`.

    conditions   KEY OPERATOR VALUE, apart by commas; all must hold
    OPERATOR     =  !=  <  <=  >  >=
    VALUE        text, in which * stands for anything; several, apart by |, for = and !=; in quotes any text
    KEY          method, data, model, seed, status, source, split, folder, ...; a metric (aa, f1/aa); a cost
                 (train_seconds); or any key of the resolved config (trainer.task.learning_rate)

Numbers are compared as numbers. What a run does not have satisfies `!=` alone. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cmt_cli.analysis.run_index import RunEntry
from cmt_cli.core.exceptions import UserError, counted, nearest

_CONDITION = re.compile(r"""\s*([^\s=!<>,|'"]+)\s*(!=|<=|>=|=|<|>)\s*((?:'[^']*'|"[^"]*"|[^,'"=<>!])*)\s*(?:,|$)""")
_GRAMMAR = "Write KEY=VALUE, KEY!=VALUE, KEY<NUMBER or KEY>NUMBER, several apart by commas; * stands for anything"
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a run's value with `values`, of which one is enough."""

    key: str
    operator: str
    values: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        """Return whether a run with this value is meant; None and a missing value equal only `null`."""
        if self.operator in ("=", "!="):
            return any(_equal(value, wanted) for wanted in self.values) == (self.operator == "=")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        limit = float(self.values[0])
        if self.operator.endswith("="):
            return value == limit or (value < limit) == (self.operator == "<=")
        return value < limit if self.operator == "<" else value > limit


def parse(texts: Iterable[str]) -> list[Condition]:
    """Return the conditions of one or more `--where` texts; raise UserError for what is none."""
    found = []
    for text in texts:
        position = 0
        while position < len(text):
            match = _CONDITION.match(text, position)
            if match is None:
                raise UserError(f"--where '{text}' cannot be read from '{text[position:].strip()}' on. {_GRAMMAR}.")
            found.append(_condition(text, *match.groups()))
            position = match.end()
    return found


def _condition(text: str, key: str, operator: str, value: str) -> Condition:
    parts = re.findall(r"""'[^']*'|"[^"]*"|[^|'"]+""", value.strip()) if operator in ("=", "!=") else [value.strip()]
    values = tuple(part.strip().strip("'\"") for part in parts) or ("",)
    if operator[0] in "<>":
        try:
            float(values[0])
        except ValueError:
            raise UserError(
                f"--where '{text}': {key}{operator} needs a number, and '{values[0]}' is none. {_GRAMMAR}."
            ) from None
    return Condition(key, operator, values)


def select(entries: Sequence[RunEntry], conditions: Sequence[Condition]) -> list[RunEntry]:
    """Return the runs of which all conditions hold; raise UserError for a key that none of the runs has."""
    chosen = list(entries)
    for condition in conditions:
        looked_at, known = chosen, False
        chosen = []
        for entry in looked_at:
            value = _value(entry, condition.key)
            known = known or value is not _MISSING
            if condition.holds(value):
                chosen.append(entry)
        if looked_at and not known:
            raise _unknown(condition.key, looked_at)
    return chosen


def value_of(entry: RunEntry, key: str) -> Any:
    """Return a run's value of a key, None where it has none."""
    value = _value(entry, key)
    return None if value is _MISSING else value


def _value(entry: RunEntry, key: str) -> Any:
    return entry.value(key, _MISSING)


def _unknown(key: str, entries: Sequence[RunEntry]) -> UserError:
    keys = dict.fromkeys(name for entry in entries[:100] for name in entry.known_keys())
    several = (
        f"none of the {counted(len(entries), 'run')} has"
        if len(entries) > 1
        else f"the run {entries[0].folder.name} lacks"
    )
    return UserError(
        f"'{key}': {several} such a name, metric, cost or config key.{nearest(key, keys)} "
        "`cmt runs --json` and a run's config.yaml show what there is."
    )


def check_key(entries: Sequence[RunEntry], key: str) -> None:
    """Raise UserError for a key that none of the runs has."""
    if entries and all(_value(entry, key) is _MISSING for entry in entries):
        raise _unknown(key, entries)


def _equal(value: Any, wanted: str) -> bool:
    if value is _MISSING or value is None:
        return value is None and wanted == "null"
    if isinstance(value, bool):
        return wanted.lower() == str(value).lower()
    if isinstance(value, int | float):
        try:
            return float(wanted) == value
        except ValueError:
            return _like(repr(value), wanted)
    return _like(f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value), wanted)


def _like(text: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, flags=re.DOTALL) is not None
