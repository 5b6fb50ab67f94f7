"""The files of a model: a local folder, the local hub cache, or a download; never a hang where there is no network.

A failing look-up of the hub client takes over 20 seconds. So the cache is looked at first, and the hub only after a
connection to it has been opened within two seconds.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.opening import foreign
from cmt_cli.data.files.regular_files import open_regular, refuse_special
from cmt_cli.models.model_digests import FILES

CONNECT_SECONDS = 2.0
GGUF = ".gguf"  # one file with weights, tokenizer and configuration


def model_folder(name_or_path: str, revision: str) -> Path:
    """Return the folder with the model's files; download them where they are neither local nor cached.

    Raises UserError where the folder or model does not exist, is gated, or cannot be reached.
    """
    folder = local_folder(name_or_path, revision)
    if folder is not None:
        return folder
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"'{name_or_path}' is not in the hub cache and HF_HUB_OFFLINE is set. {_advice(name_or_path)}")
    if not hub_reachable():
        raise UserError(
            f"'{name_or_path}' is not in the hub cache ({constants.HF_HUB_CACHE}) and {constants.ENDPOINT} did not "
            f"answer within {CONNECT_SECONDS:g} s. {_advice(name_or_path)}"
        )
    return _download(name_or_path, revision)


def local_folder(name_or_path: str, revision: str) -> Path | None:
    """Return the local or cached folder that holds the whole model, or None; no network is used.

    Raises UserError where `name_or_path` is a path without a model.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        for entry in path.iterdir():
            if not entry.is_dir():
                refuse_special(entry)
        _check_complete(path)
        return path
    if name_or_path.startswith(("/", ".", "~")) or name_or_path.count("/") > 1 or not name_or_path:
        raise UserError(
            f"The model folder '{name_or_path}' does not exist. Set model.name_or_path to an existing folder or to a "
            "hub id of the form 'owner/name'."
        )
    folder = config_folder(name_or_path, revision)
    return folder if folder is not None and not missing_files(folder) else None


def config_folder(name_or_path: str, revision: str) -> Path | None:
    """Return the local or cached folder that holds at least the model's configuration, or None; uses no network."""
    path = Path(name_or_path).expanduser()
    if (path / "config.json").is_file():
        return path
    try:
        cached = huggingface_hub.try_to_load_from_cache(name_or_path, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def gguf_file(name_or_path: str) -> Path | None:
    """Return the GGUF file that a model's name is the path of, None where it names something else or is not here."""
    path = Path(name_or_path).expanduser()
    return path if path.suffix == GGUF and path.is_file() else None


def missing_files(folder: Path) -> list[str]:
    """Return the names of required files that a model folder lacks: configuration, weights, each shard."""
    if not (folder / "config.json").is_file():
        return ["config.json"]
    if (folder / "model.safetensors").is_file():
        return []
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    try:
        shards = sorted(set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"'{index}' is no list of weight files ({error}). Get the model's files again.") from error
    return [shard for shard in shards if not (folder / shard).is_file()]


def hub_reachable() -> bool:
    """Return whether a connection to the hub, or to the proxy in front of it, opens within two seconds."""
    target = urlsplit(constants.ENDPOINT)
    host = target.hostname or "huggingface.co"
    proxy = getproxies().get(target.scheme)
    if proxy and not proxy_bypass(host):
        target = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = (target.hostname or host, target.port or (443 if target.scheme == "https" else 80))
    opened = threading.Event()
    # In a thread because the time limit of a connection does not cover looking up the host's name.
    attempt = threading.Thread(target=_connect, args=(address, opened), daemon=True)
    attempt.start()
    attempt.join(CONNECT_SECONDS)
    return opened.is_set()


def commit_of(folder: Path) -> str:
    """Return the commit of a cached snapshot, or "local" for a folder of the user's own."""
    return folder.name if folder.parent.name == "snapshots" else "local"


def _connect(address: tuple[str, int], opened: threading.Event) -> None:
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=CONNECT_SECONDS):
        opened.set()


def _download(name: str, revision: str) -> Path:
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=list(FILES), ignore_patterns=["*/*"]
            )
        )
    except GatedRepoError as error:
        raise UserError(
            f"'{name}' is gated: accept its license at {constants.ENDPOINT}/{name}, then log in with `hf auth login`. "
            f"{_advice(name)}"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"'{name}' has no revision '{revision}'. Set model.revision=main or a commit of it.") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"There is no public model '{name}' at {constants.ENDPOINT}; a private one needs `hf auth login`. "
            f"{_advice(name)}"
        ) from error
    except HFValidationError as error:
        raise UserError(f"'{name}' is neither a folder nor a hub id of the form 'owner/name'.") from error
    except (HfHubHTTPError, OSError) as error:
        raise UserError(
            f"'{name}' could not be downloaded ({type(error).__name__}: {error}). {_advice(name)}"
        ) from error
    _check_complete(folder)
    return folder


def _check_complete(folder: Path) -> None:
    missing = missing_files(folder)
    if missing:
        raise UserError(
            f"'{folder}' is not a complete model folder: {', '.join(missing[:3])} is missing. Expected are "
            "config.json, a tokenizer and weights as safetensors (pickled weights, pytorch_model.bin, are not read)."
        )
    for file in sorted(file for pattern in FILES for file in folder.glob(pattern)):
        with open_regular(file) as stream:
            if fault := foreign(stream.read(512)):
                raise UserError(f"The model's file '{file}' {fault}.")


def _advice(name: str) -> str:
    return (
        f"Run `hf download {name}` where there is a network, or set model.name_or_path to a local folder, or use "
        "model=tiny, which needs no download."
    )
