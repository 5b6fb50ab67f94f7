"""The tensors of a bank's rows as bytes: one codec and one series of shards for each of memory, key and cached.

Storage types: keys and cached are float32 where the memories are, else bfloat16. With "pq" the codebooks of the
memories, and of the keys if requested, are fitted to a sample and kept in `quantizer.safetensors`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from cmt_cli.core.atomic import write_bytes
from cmt_cli.memory.quantization import Codec, ProductQuantizer, check_dtype, untrained_codec
from cmt_cli.memory.shards import Rows, ShardedRows

MEMORY, KEY, CACHED = "memory", "key", "cached"


class VectorStorage:
    """Encoded rows by number. `shapes` maps "memory", "key", "cached" to `(tokens, width)`; width 0 leaves one out."""

    def __init__(
        self, *, folder: Path | None, shapes: Mapping[str, tuple[int, int]], dtype: str, device: torch.device
    ) -> None:
        """Open the files in `folder`, or use RAM if it is None. Nothing is written by opening."""
        check_dtype(dtype)
        self._folder, self._dtype, self._device = folder, dtype, device
        self._shapes = {name: shape for name, shape in shapes.items() if shape[1]}
        self._codecs: dict[str, Codec] = {}
        self._shards: dict[str, ShardedRows] = {}
        self.codebook = b""  # the fitted quantizers as safetensors, empty without
        if dtype != "pq":
            self._use({MEMORY: untrained_codec(dtype, *self._shapes[MEMORY])})
        elif folder is not None and self._codebook_path.exists():
            self.codebook = self._codebook_path.read_bytes()
            self._use(self._load_quantizers())

    @property
    def is_ready(self) -> bool:
        """Say whether rows can be encoded; "pq" needs `fit` first."""
        return bool(self._codecs)

    @property
    def row_bytes(self) -> dict[str, int]:
        """Return the bytes of one row by kind."""
        return {name: codec.row_bytes for name, codec in self._codecs.items()}

    @property
    def codebook_sha256(self) -> str | None:
        """Return a hash of the fitted codebooks, None without."""
        return hashlib.sha256(self.codebook).hexdigest() if self.codebook else None

    def fit(
        self, samples: Mapping[str, Tensor], bytes_per_token: Mapping[str, int], generator: torch.Generator
    ) -> None:
        """Train codebooks for the kinds in `samples` `[n, tokens, width]` and keep them."""
        fitted = {
            name: ProductQuantizer.train(sample.to(self._device), bytes_per_token[name], generator)
            for name, sample in samples.items()
        }
        self.codebook = save(
            {f"{name}.{key}": t.cpu().contiguous() for name, pq in fitted.items() for key, t in pq.state_dict().items()}
        )
        if self._folder is not None:
            write_bytes(self._codebook_path, self.codebook)
        self._use(fitted)

    def forget_codebooks(self) -> None:
        """Drop the codebooks of an empty storage, so that others can be fitted."""
        if self.codebook:
            self.codebook, self._codecs, self._shards = b"", {}, {}
            if self._folder is not None:
                self._codebook_path.unlink()

    def check(self, vectors: Mapping[str, Tensor], num_rows: int) -> None:
        """Raise `ValueError` unless `vectors` are finite, of the right kinds and `[num_rows, tokens, width]` each."""
        if not self._codecs:
            raise ValueError("A bank of dtype 'pq' needs `fit_quantizer` before anything can be stored.")
        wanted = {name: (num_rows, *shape) for name, shape in self._shapes.items()}
        given = {name: tuple(tensor.shape) for name, tensor in vectors.items()}
        if given != wanted:
            raise ValueError(f"The bank was given {given} (rows, tokens, width), and stores {wanted}.")
        for name, tensor in vectors.items():
            if not tensor.isfinite().all():
                raise ValueError(f"A {name} to be stored contains NaN or infinity.")

    @torch.no_grad()
    def encode(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the bytes `[n, row_bytes]` of each kind's vectors `[n, tokens, width]`."""
        return {name: codec.encode(vectors[name].to(self._device)) for name, codec in self._codecs.items()}

    @torch.no_grad()
    def decode(self, name: str, codes: Tensor) -> Tensor:
        """Return one kind's vectors `[n, tokens, width]`, float32, of its bytes."""
        return self._codecs[name].decode(codes)

    def write(self, start: int, codes: Mapping[str, Tensor]) -> None:
        """Write encoded rows at the numbers from `start` on."""
        for name, shards in self._shards.items():
            shards.write(start, codes[name].cpu().numpy())

    def read(self, name: str, rows: Rows) -> Tensor:
        """Return one kind's vectors `[n, tokens, width]`, float32, on the device; rows may repeat."""
        if name not in self._shards:
            raise ValueError(f"This bank stores no '{name}' vectors, or its codebooks are not fitted.")
        distinct, places = np.unique(rows, return_inverse=True)
        codes = torch.from_numpy(self._shards[name].read(distinct))
        if self._device.type == "cuda":
            codes = codes.pin_memory().to(self._device, non_blocking=True)
        return self.decode(name, codes)[torch.from_numpy(places).to(self._device)]

    def erase(self, rows: Rows) -> None:
        """Overwrite rows with zeros, on disk when it returns."""
        for shards in self._shards.values():
            shards.erase(rows)

    def finish_erasing(self, rows: Rows) -> None:
        """Erase those of `rows` that still hold anything, because a crash came between their removal and this."""
        for shards in self._shards.values():
            held = np.array([row for row in rows if shards.read(np.array([row])).any()], dtype=np.int64)
            if len(held):
                shards.erase(held)

    def discard_from(self, num_rows: int) -> None:
        """Set all rows from number `num_rows` on to zeros, whatever an interrupted process left in them."""
        for shards in self._shards.values():
            shards.discard_from(num_rows)

    def sync(self) -> None:
        """Return when everything written is on disk."""
        for shards in self._shards.values():
            shards.sync()

    def close(self) -> None:
        """Sync and close the files."""
        for shards in self._shards.values():
            shards.close()

    @property
    def _codebook_path(self) -> Path:
        assert self._folder is not None
        return self._folder / "quantizer.safetensors"

    def _load_quantizers(self) -> dict[str, Codec]:
        state = load(self.codebook)
        names = {key.partition(".")[0] for key in state}
        parts = {name: {k.partition(".")[2]: t for k, t in state.items() if k.startswith(f"{name}.")} for name in names}
        return {name: ProductQuantizer.from_state(part, self._device) for name, part in parts.items()}

    def _use(self, codecs: Mapping[str, Codec]) -> None:
        plain = "float32" if self._dtype == "float32" else "bfloat16"
        self._codecs = {
            name: codecs[name] if name in codecs else untrained_codec(plain, *shape)
            for name, shape in self._shapes.items()
        }
        self._shards = {n: ShardedRows(n, codec.row_bytes, self._folder) for n, codec in self._codecs.items()}
