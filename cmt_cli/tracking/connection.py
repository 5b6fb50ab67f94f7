"""Whether a run can reach a Weights & Biases server, found out within a time limit and without the client."""

from __future__ import annotations

import configparser
import netrc
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

Mode = Literal["online", "offline", "disabled"]
PUBLIC_SERVER = "https://api.wandb.ai"


def choose_mode(wish: str, server: str, seconds: float) -> tuple[Mode, str]:
    """Return the mode to open a run in, and the reason where it is offline; WANDB_MODE decides under "auto"."""
    if wish == "auto":
        wish = os.environ.get("WANDB_MODE", "auto")
    if wish == "disabled":
        return "disabled", ""
    if wish in ("offline", "dryrun"):
        return "offline", "as configured"
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
    done = threading.Event()
    answered: list[bool] = []

    def request() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(server, method="HEAD"), timeout=seconds).close()
            answered.append(True)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            answered.append(True)  # an answer all the same
        except OSError:
            pass
        finally:
            done.set()

    threading.Thread(target=request, daemon=True).start()
    done.wait(seconds)
    return bool(answered)


def server() -> str:
    """Return the server's address: WANDB_BASE_URL, what `wandb login --host` has saved, or the public one."""
    if address := os.environ.get("WANDB_BASE_URL"):
        return address
    settings = configparser.ConfigParser(interpolation=None)
    folder = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    try:
        settings.read(folder / "settings")
    except (OSError, configparser.Error):
        return PUBLIC_SERVER
    return settings.get("default", "base_url", fallback=PUBLIC_SERVER)


def unreachable(address: str, seconds: float) -> str | None:
    """Return why nothing can be sent to a server, or None where it can."""
    if not has_key(address):
        return f"not logged in to {address}, see `wandb login`"
    return None if answers(address, seconds) else f"{address} does not answer within {seconds:g} s"
