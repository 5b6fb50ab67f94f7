"""Whether a run can reach a Weights & Biases server, found out within a time limit and without the client."""

from __future__ import annotations

import netrc
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

Mode = Literal["online", "offline", "disabled"]


def choose_mode(wish: str, server: str, seconds: float) -> tuple[Mode, str]:
    """Return the mode to open a run in, and the reason where it is offline; WANDB_MODE decides under "auto"."""
    if wish == "auto":
        wish = os.environ.get("WANDB_MODE", "auto")
    if wish == "disabled":
        return "disabled", ""
    if wish in ("offline", "dryrun"):
        return "offline", "as asked"
    if not has_key(server):
        return "offline", "not logged in, see `wandb login`"
    if not answers(server, seconds):
        return "offline", f"{server} does not answer"
    return "online", ""


def has_key(server: str) -> bool:
    """Return whether a key for `server` is in WANDB_API_KEY or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(urlparse(server).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def answers(server: str, seconds: float) -> bool:
    """Return whether the server answers any request within `seconds`, name lookup and proxy included."""
    answered = threading.Event()

    def request() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(server, method="HEAD"), timeout=seconds).close()
        except urllib.error.HTTPError as refusal:
            refusal.close()  # an answer all the same
        except OSError:
            return
        answered.set()

    threading.Thread(target=request, daemon=True).start()
    return answered.wait(seconds)
