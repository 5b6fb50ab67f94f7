"""`cmt doctor`: what is on this machine, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from cmt_cli.commands.run_folders import RUNS, run_names
from cmt_cli.config import catalog
from cmt_cli.core.exceptions import counted
from cmt_cli.terminal.text import paragraph

_PACKAGES = ("cmt-cli", "torch", "transformers", "datasets", "wandb", "hydra-core", "omegaconf", "typer")
_OPTIONAL = {"bitsandbytes": "4-bit models on CUDA", "spacy": "method=salient_spans with a tagger"}
_GIB = 1024**3

Lines = Mapping[str, str]


def doctor() -> None:
    """Report devices, versions, caches, login state and which data are here; no network is used."""
    from cmt_cli.commands import stream_files
    from cmt_cli.terminal.console import open_console

    console = open_console()

    sections = {
        "devices": devices(),
        "versions": versions(),
        "places": places(),
        "login": login(),
        "data": stream_files.found(),
    }
    width = max(len(name) for lines in sections.values() for name in lines)
    for title, lines in sections.items():
        console.print(title, style="bold")
        for name, text in lines.items():
            paragraph(console, f"  {name:{width}} ", text)


def devices() -> Lines:
    """Return the processors and their memory, as torch sees them."""
    import torch

    from cmt_cli.core.mixed_precision import cpu_bf16

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    threads = counted(torch.get_num_threads(), "thread")
    bf16 = ", ".join(cpu_bf16()) or "none, model.dtype=auto is fp32"
    found = {"cpu": f"{counted(os.cpu_count() or 1, 'core')}, {memory:.1f} GiB, torch uses {threads}; bf16: {bf16}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / _GIB:.1f} GiB"
    if torch.cuda.device_count() == 0:
        found["cuda"] = "none: " + _why_no_cuda(torch.version.cuda)
    return found


def available_bytes() -> int:
    """Return the free memory of the CUDA device that a run would take, else of the machine."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _why_no_cuda(build: str | None) -> str:
    if shutil.which("nvidia-smi") is None:
        return "no NVIDIA driver here; model=tiny runs on the CPU"
    if build is None:
        return "there is a driver, but this torch is a CPU build: pip install --force-reinstall torch"
    return f"there is a driver, but torch (CUDA {build}) cannot use it; compare with `nvidia-smi`"


def versions() -> Lines:
    """Return the versions of the packages that matter, and which optional ones are absent."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        found[package] = _version(package) or "missing: pip install cmt-cli"
    for package, purpose in _OPTIONAL.items():
        found[package] = _version(package) or f"not installed; for {purpose}"
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def places() -> Lines:
    """Return the folders that a run reads and writes, and the room that is left."""
    cache = Path(os.environ.get("CMT_CACHE", "~/.cache/cmt")).expanduser()
    free = shutil.disk_usage(Path.cwd()).free / _GIB
    return {
        "configuration": str(catalog.conf_dir()),
        "runs": f"{RUNS.resolve()}: {counted(len(run_names()), 'run')}, {free:.1f} GiB free",
        "cmt cache": f"{cache}{_held(cache) if cache.is_dir() else ' (not there yet)'}; set CMT_CACHE to move it",
        "model cache": f"{_hub_cache()}: {counted(_num_models(), 'model')}"
        + ("; HF_HUB_OFFLINE is set, nothing is downloaded" if os.environ.get("HF_HUB_OFFLINE") else ""),
    }


def _held(cache: Path) -> str:
    """Return what each folder of the cache holds; all of it can be made again."""
    sizes = {
        folder.name: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        for folder in sorted(cache.iterdir())
        if folder.is_dir()
    }
    held = ", ".join(f"{name} {size / _GIB:.2f} GiB" for name, size in sizes.items())
    return f": {held}, can all be made again" if held else " (empty)"


def _hub_home() -> Path:
    return Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()


def _hub_cache() -> Path:
    return Path(os.environ.get("HF_HUB_CACHE", _hub_home() / "hub"))


def _num_models() -> int:
    return len(list(_hub_cache().glob("models--*")))


def login() -> Lines:
    """Return whether Weights & Biases and Hugging Face know an account here; nothing of it is shown."""
    from cmt_cli.tracking import connection

    hub = bool(os.environ.get("HF_TOKEN")) or Path(os.environ.get("HF_TOKEN_PATH", _hub_home() / "token")).is_file()
    address = connection.server()
    return {
        "wandb": f"logged in: runs go online, to {address}"
        if connection.has_key(address)
        else f"not logged in to {address}: runs stay offline; `wandb login`",
        "hugging face": "logged in" if hub else "not logged in: gated models like Llama 2 need `hf auth login`",
    }
