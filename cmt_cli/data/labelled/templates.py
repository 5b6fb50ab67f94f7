"""Fills prompt templates: names in braces are fields, also with spaces, points and hyphens as columns have them.

Braces inside a field's text stay as they are, and so do those around anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FIELD = re.compile(r"\{(\w(?:[\w .-]*\w)?)\}")


def fields_in(template: str) -> list[str]:
    """Return the names of the fields in a template, in their order."""
    return _FIELD.findall(template)


def filled(template: str, fields: Mapping[str, str]) -> str:
    """Return a template with its fields filled; names that are no fields stay as they are."""
    return _FIELD.sub(lambda match: fields.get(match[1], match[0]), template)
