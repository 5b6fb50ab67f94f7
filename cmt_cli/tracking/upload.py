"""Send what the server lacks of one run: a program of its own, which can be ended while the client waits.

The run folder's event log says what there is, and the server how far it has come, so that a second upload goes on
where the first one stopped and nothing is sent twice. What the client's own files hold is not needed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from cmt_cli.core.exceptions import UserError
from cmt_cli.running.run_files import read_result
from cmt_cli.terminal.text import put
from cmt_cli.tracking import parts
from cmt_cli.tracking.mirror import Description, Mirror, open_run


def upload(folder: Path, address: str, seconds: float) -> str:
    """Send what is missing and ask the server whether it has it; return "" or what is left.

    Raises UserError for a folder without a run, and the client's errors.
    """
    result, name = read_result(folder), parts.known_id(folder)
    if result is None or name is None:
        raise UserError(f"{folder} has no result.json, or no part of a W&B run")
    description = Description.read(folder)

    def opened(scratch: str) -> Mirror:
        run = open_run(
            description,
            mode="online",
            address=address,
            identity=parts.continued(name),
            client_folder=Path(scratch),
            init_seconds=seconds,
            finish_seconds=seconds,
        )
        return Mirror(run, folder, shows_past=True)

    with tempfile.TemporaryDirectory() as scratch:  # the client writes what it sends into a file first
        mirror = opened(scratch)
        if not mirror.has_all(result):
            mirror.catch_up()
            mirror.show_end(result)
            if description.log_artifacts and result.status == "complete":
                mirror.log_checkpoint()
            mirror.summarize(result)
            mirror.finish(result)
            mirror = opened(scratch)  # the client says nothing of what it could not send
        has_all = mirror.has_all(result)
        mirror.summarize(result)
        mirror.finish(result)
    if not has_all:
        return "the server has not taken all of it"
    parts.note_sent(folder)
    if damaged := mirror.history.damaged:
        numbers = ", ".join(map(str, damaged))
        return f"events.jsonl is damaged in line {numbers}; the others were uploaded, and scores.csv has all scores"
    return ""


def main(folder: str, address: str, seconds: str) -> int:
    """Upload a run; end with 1 where something is left, which the last line says."""
    try:
        left = upload(Path(folder), address, float(seconds))
    except Exception as error:  # the client raises direct subclasses of Exception from its private modules
        left = f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
    if left:
        put(json.dumps(left) + "\n")
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
