"""Where the Weights & Biases server is, and whether it can be reached, found out within a time limit."""

from __future__ import annotations

import netrc
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlparse

from cmt_cli.core.exceptions import UserError

if TYPE_CHECKING:
    from wandb import Settings

Mode = Literal["online", "offline", "disabled"]


def client_settings() -> Settings:
    """Return the client's settings as it reads them itself: its file in the home, ./wandb/settings, the environment.

    Raises UserError where ./wandb/settings is a file of a run folder: the folder may come from somebody else, and the
    key would be sent to the server that it names.
    """
    import wandb

    if Path("wandb", "settings").exists() and any(Path(name).exists() for name in ("result.json", "events.jsonl")):
        raise UserError(
            f"{Path.cwd()} is a run folder, and its wandb/settings would choose the server that your key is sent to. "
            "Give the command in another folder, or remove that file."
        )
    settings = wandb.Settings(silent=True)
    place = Path(os.path.expanduser(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")))
    settings.settings_system = str(place / "settings")
    settings.update_from_system_settings()
    settings.update_from_env_vars(dict(os.environ))
    return settings


def server() -> str:
    """Return the address of the server that the client would speak to."""
    return str(client_settings().base_url)


def choose_mode(wish: str, server: str, seconds: float) -> tuple[Mode, str]:
    """Return the mode to open a run in, and the reason where it is offline; the client's settings decide "auto"."""
    if wish == "auto":
        wish = client_settings().mode
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
    """Return whether a key for `server` is in the client's settings or in the netrc file."""
    from wandb.sdk.lib import urls

    if client_settings().api_key:
        return True
    path = Path(os.path.expanduser(os.environ.get("NETRC", "~/.netrc")))
    # `wandb login` writes the port of a private server, too; the public one's key may stand under its former name.
    places = [urlparse(server), urlparse(urls.forge_upstream_url(server))]
    names = [name for place in places for name in (place.netloc, place.hostname) if name]
    try:
        known = netrc.netrc(str(path))
    except (OSError, netrc.NetrcParseError):
        return False
    return any(known.authenticators(name) for name in names)


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


def unreachable(address: str, seconds: float) -> str | None:
    """Return why nothing can be sent to a server, or None where it can."""
    if not has_key(address):
        return f"not logged in to {address}, see `wandb login`"
    return None if answers(address, seconds) else f"{address} does not answer within {seconds:g} s"
