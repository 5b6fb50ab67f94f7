"""`cmt --help` and `cmt list` answer at once: they import nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "wandb", "hydra", "omegaconf", "numpy")
PROGRAM = """
import sys
from cmt_cli.commands.app import main
try:
    main(sys.argv[1:])
finally:
    print("IMPORTED", *sorted(set(sys.modules) & set({heavy!r})))
"""


@pytest.mark.parametrize("command", ["--help", "run --help", "list methods", "list matrix --json"])
def test_light_commands_import_nothing_heavy(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(heavy=HEAVY), *command.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "IMPORTED"


def test_a_run_is_checked_before_a_model_is_needed() -> None:
    """Hydra composes; torch and what builds on it wait until all names, keys and types are known to be right."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM.format(heavy=("torch", "transformers", "datasets", "wandb")),
            "run",
            "--cfg=job",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "IMPORTED"
