"""How much of a file that somebody made may be unpacked and held in memory: settings of the user's environment.

They are variables and no keys of a configuration, since that may come from whoever made the file.

    CMT_MAX_UNPACKED_BYTES    of an archive, or of one compressed file          64 GiB
    CMT_MAX_UNPACKED_RATIO    unpacked by packed bytes, above 64 MiB unpacked   300; texts have 3 to 30
    CMT_MAX_UNPACKED_FILES    members of an archive                             100,000
    CMT_MAX_LINE_BYTES        of one line of text                               256 MiB
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cmt_cli.core.exceptions import UserError

_RATIO_COUNTS_FROM = 64 * 2**20  # bytes
_DEFAULTS = {
    "CMT_MAX_UNPACKED_BYTES": 64 * 2**30,
    "CMT_MAX_UNPACKED_RATIO": 300,
    "CMT_MAX_UNPACKED_FILES": 100_000,
    "CMT_MAX_LINE_BYTES": 2**28,
}


class LimitError(UserError):
    """A file holds more than is read; the message is a predicate of it and names the setting."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that is unpacked of one file, and the most bytes of one of its lines."""

    unpacked_bytes: int
    unpacked_ratio: int
    unpacked_files: int
    line_bytes: int

    def check_bytes(self, unpacked: int, packed: int) -> None:
        """Raise LimitError for so many bytes that come out of so many packed ones."""
        if unpacked > self.unpacked_bytes:
            raise LimitError(
                f"unpacks to more than {self.unpacked_bytes:,} bytes{_raised_by('CMT_MAX_UNPACKED_BYTES')}"
            )
        if unpacked > max(_RATIO_COUNTS_FROM, self.unpacked_ratio * packed):
            ratio = f"{self.unpacked_ratio:,} times its {packed:,} bytes"
            raise LimitError(f"unpacks to more than {ratio}{_raised_by('CMT_MAX_UNPACKED_RATIO')}")

    def check_files(self, number: int) -> None:
        """Raise LimitError for an archive of so many members."""
        if number > self.unpacked_files:
            raise LimitError(f"has more than {self.unpacked_files:,} members{_raised_by('CMT_MAX_UNPACKED_FILES')}")

    def check_line(self, number: int) -> None:
        """Raise LimitError for a line of so many bytes."""
        if number > self.line_bytes:
            raise LimitError(f"the line has more than {self.line_bytes:,} bytes{_raised_by('CMT_MAX_LINE_BYTES')}")


def limits() -> Limits:
    """Return what the environment says; raise UserError for a value that is no whole number above 0."""
    values = []
    for name, default in _DEFAULTS.items():
        text = os.environ.get(name, "").replace("_", "").strip()
        if text and not (text.isascii() and text.isdigit() and int(text) > 0):
            raise UserError(f"{name}={os.environ[name]} must be a whole number above 0, such as {default}.")
        values.append(int(text) if text else default)
    return Limits(*values)


def _raised_by(name: str) -> str:
    return f"; if it may, set {name} in the environment to a larger number"
