"""Columns of a user's table, and how the values of a row become an item: text, answers, choices, task and split."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.core.setting_checks import one_of
from cmt_cli.data.files.fields import plain_field, present_answers
from cmt_cli.data.files.problems import Problem, Record
from cmt_cli.data.files.reading import json_type
from cmt_cli.data.files.table_rows import value_at

KINDS = ("classification", "generation", "choices")
ANSWER_FORMS = ("text", "index", "number", "letter")
BETWEEN_OPTIONS = ", "
_COLUMN = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Which column is what; `outer.inner` is a value inside an object.

    `text` is a column, or a template that holds columns in braces. `answer` is the label or the text to be given;
    `label_names` are what its values stand for, a list for 0, 1, 2 and so on. `task` and `split` are columns, or None
    where files tell them. `choices` of a multiple choice are a column with a list, or several columns; `answer_form`
    says whether its answer is the "text" of a choice, its "index" from 0, its "number" from 1 or its "letter".
    """

    text: str
    answer: str
    label_names: Sequence[str] | Mapping[Any, str] | None
    task: str | None
    split: str | None
    choices: str | Sequence[str] | None
    answer_form: str

    def __post_init__(self) -> None:
        """Refuse a form of answers that is none."""
        one_of(self.answer_form, ANSWER_FORMS, "data.columns.answer_form")

    @property
    def of_text(self) -> list[str]:
        """Return the columns that the text is made of."""
        return _COLUMN.findall(self.text) or [self.text]

    @property
    def of_choices(self) -> list[str]:
        """Return the columns that hold choices."""
        if self.choices is None:
            return []
        return [self.choices] if isinstance(self.choices, str) else list(self.choices)

    def settings(self, kind: str, in_prompt: Sequence[str]) -> dict[str, str]:
        """Return the columns that every row must have, each with the setting that names it.

        `in_prompt` are those that the prompt template names itself. Raises UserError for choices that are not named.
        """
        if (one_of(kind, KINDS, "data.kind") == "choices") != bool(self.of_choices):
            raise UserError(
                "data.kind=choices and data.columns.choices go together: name the column that lists the choices of a "
                "row, or a column for each choice: data.columns.choices=[A,B,C,D]."
            )
        named = {self.answer: "data.columns.answer"}
        named |= dict.fromkeys(in_prompt, "data.format.prompt_template")
        named |= dict.fromkeys(self.of_choices, "data.columns.choices")
        named |= dict.fromkeys(self.of_text, "data.columns.text")
        more = {self.task: "data.columns.task", self.split: "data.columns.split"}
        return named | {column: setting for column, setting in more.items() if column is not None}

    def filled_text(self, record: Record, problems: list[Problem]) -> str | None:
        """Return a row's text; single columns of a template may be empty, the whole may not."""
        if not _COLUMN.search(self.text):
            return column_text(record, self.text, problems)
        values = {}
        for name in self.of_text:
            value = value_at(record.values, name)
            values[name] = "" if value is None or value == "" else column_text(record, name, problems)
        if None in values.values():
            return None
        if not any(values.values()):
            problems.append(record.problem(f"{_quoted(self.of_text)} are all empty"))
            return None
        return _COLUMN.sub(lambda match: values[match[1]] or "", self.text).strip()

    def label(self, record: Record, problems: list[Problem]) -> str | None:
        """Return the label of a row, by its name where there are names."""
        value = value_at(record.values, self.answer)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        text = plain_field(record, self.answer, value, problems)
        if text is None or self.label_names is None:
            return text
        names = _names_by_value(self.label_names)
        if text not in names:
            fault = f"'{self.answer}' is '{text}', which data.columns.label_names does not name"
            problems.append(record.problem(f"{fault}; it names {', '.join(names)}.{nearest(text, names)}"))
        return names.get(text)

    def references(self, record: Record, problems: list[Problem]) -> tuple[str, ...]:
        """Return the accepted answers of a row, one text or a list of them, the first of which is learned."""
        value = value_at(record.values, self.answer)
        if not isinstance(value, list):
            text = plain_field(record, self.answer, value, problems)
            return () if text is None else (text,)
        texts = [plain_field(record, self.answer, item, problems) for item in value if item not in (None, "")]
        return () if None in texts else present_answers(record, [text for text in texts if text], problems)

    def options(self, record: Record, problems: list[Problem]) -> tuple[str, ...]:
        """Return the different choices of a row, at least two; none after a problem."""
        name, *others = self.of_choices
        first = value_at(record.values, name)
        values = [first, *(value_at(record.values, other) for other in others)] if others else _listed(first)
        if values is None:
            problems.append(record.problem(f"'{name}' must be a list of choices, not {json_type(first)}"))
            return ()
        texts = [plain_field(record, name, value, problems) for value in values]
        if None in texts:
            return ()
        found = tuple(text for text in texts if text)
        if len(found) < 2 or len(set(found)) < len(found):
            problems.append(record.problem(f"the choices must be two or more and differ; they are {_quoted(found)}"))
            return ()
        return found

    def chosen(self, record: Record, options: Sequence[str], problems: list[Problem]) -> str | None:
        """Return the choice that is the answer of a row."""
        text = plain_field(record, self.answer, value_at(record.values, self.answer), problems)
        if text is None:
            return None
        allowed = _forms(options)[self.answer_form]
        if text in allowed:
            return options[allowed.index(text)]
        fitting = [form for form, names in _forms(options).items() if text in names]
        hint = f" data.columns.answer_form={fitting[0]} would take it." if fitting else ""
        fault = f"'{self.answer}' is '{text}', but with data.columns.answer_form={self.answer_form} it must be one of "
        problems.append(record.problem(f"{fault}{_quoted(allowed)}.{hint}"))
        return None


def column_text(record: Record, name: str, problems: list[Problem]) -> str | None:
    """Return the text in a column."""
    return plain_field(record, name, value_at(record.values, name), problems)


def _forms(options: Sequence[str]) -> dict[str, list[str]]:
    """Return how the choices may be named, by the form of the answers."""
    return {
        "text": list(options),
        "letter": list(string.ascii_uppercase[: len(options)]),
        "index": [str(index) for index in range(len(options))],
        "number": [str(index + 1) for index in range(len(options))],
    }


def _names_by_value(names: Sequence[str] | Mapping[Any, str]) -> dict[str, str]:
    pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
    return {json.dumps(value) if isinstance(value, bool) else str(value): str(name) for value, name in pairs}


def _listed(value: object) -> list[Any] | None:
    """Return a list, or the one that a text spells in json; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, list) else None


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
