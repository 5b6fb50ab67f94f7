"""`cmt` as a process that notes when its first optimizer step was done: python first_step.py TIMING.json run ...

Writes seconds since the process began and its largest resident memory in MiB, at the first step and at the end.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Call the command line with a clock in the gradient loop."""
    from cmt_cli.commands import app

    timing, arguments = Path(sys.argv[1]), sys.argv[2:]
    found: dict[str, float] = {}
    patch(found)
    try:
        app.main(arguments)
    except SystemExit as left:
        found |= {f"total_{key}": value for key, value in now().items()}
        timing.write_text(json.dumps(found), encoding="utf-8")
        raise SystemExit(left.code) from None


def patch(found: dict[str, float]) -> None:
    """Let the loop note its first step in `found`."""
    from cmt_cli.training.loop import GradientLoop

    update = GradientLoop._update

    def noted(loop: GradientLoop, *arguments: Any) -> None:
        update(loop, *arguments)
        if not found:
            found.update(now())

    GradientLoop._update = noted  # type: ignore[method-assign, assignment]


def now() -> dict[str, float]:
    """Return the seconds since this process began, its CPU seconds, and its largest resident memory in MiB."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19])
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
