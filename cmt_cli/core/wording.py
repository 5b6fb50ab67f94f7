"""Words of messages that depend on what stands beside them: plurals, and the end of a sentence."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return a number with a regular noun, in the plural unless it is one."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def ended(sentence: str) -> str:
    """Return a sentence with one mark at its end: its own, or a full stop."""
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."
