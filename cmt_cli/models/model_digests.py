"""The sha256 of what a run's models are loaded from: weights, tokenizer and configuration, known without loading them.

Every block of settings with a `name_or_path` names a model, the run's own or a part of its method, and the embedded one
lies in the package. A model of other settings, a plugin's, is known by its weights once it is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.content_hashes import listing_of

if TYPE_CHECKING:
    from torch import nn

EMBEDDED = Path(__file__).parent / "tiny"  # weights, tokenizer and recipe of `model=tiny`
FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.tiktoken", "*.py", "*.jinja")  # what a model is loaded from
_TEMPLATES = "additional_chat_templates/*.jinja"
_PICKLED = "*.bin"  # read by a method's model that has no safetensors
IN_MEMORY = "(weights in memory)"  # in the place of files' names
_MODEL = "model"  # the group whose files are recorded without a prefix
_ADAPTER = f"{_MODEL}.adapter"


def digests_of(
    config: Mapping[str, Any], cache: Path, note: Callable[[str], None] | None = None
) -> dict[str, str] | None:
    """Return the sha256 of the files of a run's models; None where some are not here or not known by their settings.

    A file of a method's model is named `<block of settings>: <file>`. What is known of unchanged files is kept below
    `cache`; `note` is told where hashing takes longer than a second. Raises UserError for files that cannot be read.
    """
    found: dict[str, str] = {}
    folders = dict(_folders({_MODEL: config[_MODEL], "method": config.get("method")}))
    if _MODEL not in folders:
        return None
    for block, folder in folders.items():
        if folder is None:
            return None
        try:
            if folder.is_file():
                files = listing_of(folder.parent, [folder])
            else:
                files = listing_of(folder, _adapter(folder) if block == _ADAPTER else _files(folder))
            digests = files.sha256(cache, note) if files is not None else {}
        except OSError as error:
            raise UserError(f"The files of the model in '{folder}' cannot be read: {error}.") from error
        found |= {name if block == _MODEL else f"{block}: {name}": digest for name, digest in digests.items()}
    return found


def _folders(node: Any, name: str = "") -> Iterator[tuple[str, Path | None]]:
    """Yield the blocks of settings that name a model, with the folder of its files; None where they are not here."""
    if isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _folders(value, f"{name}.{index}")
    if not isinstance(node, Mapping):
        return
    given, revision = node.get("name_or_path"), node.get("revision")
    if isinstance(given, str):
        from cmt_cli.models.model_files import config_folder, gguf_file

        yield name, gguf_file(given) or config_folder(given, revision if isinstance(revision, str) else "main")
    elif name == _MODEL and node.get("embedded") is True:
        yield name, EMBEDDED
    if name == _MODEL and isinstance(node.get("adapter"), str):
        yield _ADAPTER, Path(node["adapter"]).expanduser()
    for key, value in node.items():
        yield from _folders(value, f"{name}.{key}" if name else str(key))


def _adapter(folder: Path) -> list[Path]:
    from cmt_cli.models.adapters import adapter_files

    return adapter_files(str(folder))


def _files(folder: Path) -> list[Path]:
    patterns = [*FILES, _TEMPLATES]
    if not any(folder.glob("*.safetensors")):
        patterns.append(_PICKLED)
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})


def weights_digest(model: nn.Module) -> dict[str, str]:
    """Return the sha256 of a model's parameters and buffers, in the place of that of its files."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(values.numpy().data)
    return {IN_MEMORY: digest.hexdigest()}
