"""What a model folder's files look like when they were cut short or damaged, as errors that name the file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from cmt_cli.core.exceptions import UserError, counted, from_library, told

# What transformers raises for a file that it cannot read, of whichever kind the mistake in it is.
UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, ImportError),
    StrictDataclassError,
)
_AGAIN = "Get the model's files again (a download or a copy was cut short, or a file was changed)"


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def refuse_json(folder: Path) -> None:
    """Raise UserError for a configuration or tokenizer file that is no JSON object; libraries name the file of few."""
    for path in sorted(folder.glob("*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"'{path}' is no JSON file ({first_line(error)}). {_AGAIN}.") from error


class reading_tokenizer:  # noqa: N801 - a context, read as a verb
    """Let a tokenizer file that cannot be understood be a UserError; its library raises a bare Exception then."""

    def __init__(self, folder: Path) -> None:
        """Name the model's folder."""
        self._folder = folder

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise UserError for what the file's content has caused; the system's refusals travel."""
        if error is None or isinstance(error, UserError) or told(error) is not None:
            return
        if kind is Exception or isinstance(error, UNREADABLE):
            raise UserError(
                f"'{self._folder}' has no tokenizer that can be read ({first_line(error)}). {_AGAIN}, or set "
                "model.name_or_path to a folder with the model's own."
            ) from error


@contextmanager
def reading_weights(folder: Path) -> Iterator[None]:
    """Let a failure while a model is loaded be a UserError that names the file whose weights cannot be read."""
    try:
        yield
    except SafetensorError as error:
        refused = from_library(error, folder)
        if refused is not error:
            raise refused from error
        raise UserError(f"{_damaged(folder)} ({first_line(error)}). {_AGAIN}.") from error
    except UNREADABLE as error:
        if isinstance(error, UserError) or told(error) is not None:
            raise
        raise UserError(
            f"The model in '{folder}' cannot be loaded ({type(error).__name__}: {first_line(error)}): its weights do "
            f"not fit its config.json, or one of the two is damaged. {_AGAIN}."
        ) from error


def refuse_missing(names: Collection[str], folder: Path) -> None:
    """Raise UserError where a model's files lack weights, in whose place there would be random ones."""
    if names:
        raise UserError(
            f"The files in '{folder}' lack {counted(len(names), 'weight')} of the model that config.json describes "
            f"({', '.join(sorted(names)[:3])}), which would be random. {_AGAIN}, or their own config.json."
        )


def _damaged(folder: Path) -> str:
    """Return which weight files cannot be opened, as the beginning of a sentence."""
    bad: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError):
            bad.append(str(path))
    return f"{', '.join(map(repr, bad)) or repr(str(folder))} is cut short or damaged"
