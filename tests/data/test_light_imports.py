"""Streams are built from plain Python: listing or checking data starts no library of tensors or of data sets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cmt_cli.data

ROOT = Path(__file__).parents[2]
MAPS_MEMORY = ("stored_stream.py", "stream_cache.py")  # with numpy; no reader of files imports them
HEAVY = ("torch", "transformers", "datasets", "pandas", "pyarrow", "numpy", "hydra", "huggingface_hub")


def test_importing_all_streams_loads_nothing_heavy() -> None:
    files = sorted(Path(cmt_cli.data.__path__[0]).rglob("*.py"))
    read = [file for file in files if file.name not in ("__init__.py", *MAPS_MEMORY)]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in read]
    code = f"import sys, {', '.join(names)}; print(sorted(set({HEAVY}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert len(names) > 60 and result.stdout.strip() == "[]"
