"""Files of weights become layers: kept as they are where that will do; joined, imported or quantised where not.

Knows nothing of names, texts and manifests.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from puna.conversion import import_adapter, import_folder, open_import
from puna.conversion.mixes import mix_named
from puna.conversion.quantizing import quantize_model
from puna.errors import InvalidGGUF, InvalidRequest
from puna.gguf import ModelConfig, ModelFile, Value, open_model
from puna.store import layers
from puna.store.blobs import Blobs
from puna.store.files import storing
from puna.store.layers import Layer
from puna.store.progress import Progress, Report
from puna.store.sources.joining import join

SPARE = 256 << 20  # bytes of a disk that are better left free
FLOATS = ("F16", "BF16", "F32")  # what may be quantised, as in Ollama

_SHARD = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True, slots=True)
class File:
    """A file that a model is made of."""

    name: str  # what it is called where it comes from; tells shards apart
    path: Path
    digest: str | None = None  # of the blob that it is; None: it is no blob yet


@dataclass(frozen=True, slots=True)
class Weights:
    """Makes layers of files.

    reference: files that need no change are used in place.
    expendable: digests of blobs that may go while they are joined, where the disk has no room for both.
    """

    blobs: Blobs  # inside `pinned`
    report: Report
    cancelled: threading.Event | None
    reference: bool = False
    expendable: frozenset[str] = frozenset()

    def layers(self, files: Sequence[File], *, media_type: str | None = None, quantize: str = "") -> list[Layer]:
        """GGUF files as layers, the model before its projectors.

        media_type: what they are; None: what each says of itself.
        quantize: the mix that models and drafts are to have.

        Raises:
            InvalidRequest: a file is no GGUF, or it cannot be quantised further.
            InvalidGGUF, UnsupportedModel, StoreError, Cancelled.
        """
        for file in files:
            _check_magic(file)
        made = [self._layer(shards, media_type, quantize) for shards in _grouped(files)]
        if sum(layer.media_type == layers.MODEL for layer in made) > 1:
            raise InvalidRequest("several models were given: name the one to use, and beside it only its projector")
        return sorted(made, key=lambda layer: layer.media_type != layers.MODEL)

    def imported(self, folder: Path, *, quantize: str = "") -> Layer:
        """A Hugging Face folder as a model layer.

        Raises:
            InvalidGGUF, InvalidTokenizer, UnsupportedModel, StoreError, Cancelled.
        """
        status = "converting model"
        self.report(Progress(status))
        with self.blobs.scratch() as target:
            if quantize:
                with open_import(folder) as opened:
                    warnings = opened.warnings
                    self._quantize(opened.file, target, quantize)
            else:
                warnings = import_folder(folder, target, progress=self._bytes(status), cancelled=self.cancelled)
            for warning in warnings:
                self.report(Progress(status, warning=warning))
            return self._taken(target, layers.MODEL)

    def linked(self, files: Sequence[File], title: str, *, quantize: str = "") -> Layer:
        """The same for the files of such a folder, of which only the blobs are here.

        title: what the folder is to be called, for its name goes into the model.
        """
        with self._linked(files, title) as folder:
            return self.imported(folder, quantize=quantize)

    def imported_adapter(self, folder: Path, base: Layer) -> Layer:
        """A PEFT folder with an adapter of the model that is that layer. Raises as `imported`, and ModelNotFound."""
        with open_model(self.blobs.file(base.digest)) as file:
            config = ModelConfig.from_model(file)
        with self.blobs.scratch() as target:
            import_adapter(folder, config, target, progress=self._bytes("converting adapter"), cancelled=self.cancelled)
            return self._taken(target, layers.ADAPTER)

    def linked_adapter(self, files: Sequence[File], base: Layer) -> Layer:
        """The same for the files of such a folder, of which only the blobs are here."""
        with self._linked(files, "adapter") as folder:
            return self.imported_adapter(folder, base)

    def quantized(self, layer: Layer, quantize: str) -> Layer:
        """A layer that is in the store already, with the mix that it is to have. Raises as `layers`."""
        with open_model(self.blobs.file(layer.digest)) as file, self.blobs.scratch() as target:
            if not _differs(file, quantize, layer.media_type):
                return layer
            self._quantize(file, target, quantize)
            return self._taken(target, layer.media_type)

    @contextlib.contextmanager
    def _linked(self, files: Sequence[File], title: str) -> Iterator[Path]:
        """A folder of that name with links to the files, which is there only inside."""
        with tempfile.TemporaryDirectory(prefix="puna-") as temporary:
            with storing(f"put the files of {title} together"):
                for file in files:
                    link = Path(temporary, title, file.name)
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(file.path.absolute())
            yield Path(temporary, title)

    def _layer(self, shards: Sequence[File], media_type: str | None, quantize: str) -> Layer:
        self.report(Progress("parsing GGUF"))
        with self._whole(shards) as path, open_model(path) as file:
            kind = media_type or _media_type(file.metadata)
            if quantize and kind in (layers.MODEL, layers.DRAFT) and _differs(file, quantize, kind):
                with self.blobs.scratch() as target:
                    self._quantize(file, target, quantize)
                    return self._taken(target, kind)
            if len(shards) > 1:
                return self._taken(path, kind)
        if shards[0].digest is not None:
            return Layer(kind, shards[0].digest, self.blobs.size(shards[0].digest))
        return self.blobs.add_file(path, kind, reference=self.reference, report=self.report, cancelled=self.cancelled)

    @contextlib.contextmanager
    def _whole(self, shards: Sequence[File]) -> Iterator[Path]:
        """One file; several become one, which is there only inside."""
        if len(shards) == 1:
            yield shards[0].path
            return
        if self.reference:
            told = f"{shards[0].name} and the other shards are copied into one file: only whole files are used in place"
            self.report(Progress("joining shards", warning=told))
        with self.blobs.scratch() as target, tempfile.TemporaryDirectory(prefix="puna-") as links:
            paths = [shard.path for shard in shards]
            spend = partial(self._spend, shards) if self._is_tight(paths) else None
            join(paths, Path(links), target, self.report, self.cancelled, spend)
            yield target

    def _is_tight(self, paths: Sequence[Path]) -> bool:
        """Whether there is no room for the files once more."""
        return shutil.disk_usage(self.blobs.own).free < sum(path.stat().st_size for path in paths) + SPARE

    def _spend(self, shards: Sequence[File], place: int) -> None:
        digest = shards[place].digest
        if digest in self.expendable:
            self.blobs.spend(str(digest))

    def _quantize(self, file: ModelFile, target: Path, quantize: str) -> None:
        mix = mix_named(quantize)
        status = f"quantizing {ModelConfig.from_model(file).file_type} model to {mix.name}"
        quantize_model(file, target, mix, progress=self._bytes(status), cancelled=self.cancelled)

    def _taken(self, target: Path, media_type: str) -> Layer:
        self.report(Progress("verifying conversion"))
        return self.blobs.take(target, media_type, report=self.report, cancelled=self.cancelled)

    def _bytes(self, status: str) -> Callable[[int, int], None]:
        """Reports (bytes so far, bytes in all) as progress."""
        return partial(_tell, self.report, status)


def _tell(report: Report, status: str, completed: int, total: int) -> None:
    report(Progress(status, total=total, completed=completed))


def _grouped(files: Sequence[File]) -> list[list[File]]:
    """The files, each alone or with the other shards of its model, in order.

    Of shards on this disk one is enough: the others lie beside it.
    """
    groups: dict[tuple[str, str], list[File]] = {}
    for file in files:
        found = _SHARD.fullmatch(file.name)
        if found is None or int(found["count"]) < 2:
            groups[file.name, ""] = [file]
        elif file.digest is not None:
            groups.setdefault((found["prefix"], found["count"]), []).append(file)
        else:
            names = (
                f"{found['prefix']}-{number:05}-of-{found['count']}.gguf"
                for number in range(1, int(found["count"]) + 1)
            )
            groups[found["prefix"], found["count"]] = [File(name, file.path.with_name(name)) for name in names]
    return [sorted(group, key=lambda file: file.name) for group in groups.values()]


def _check_magic(file: File) -> None:
    with storing(f"read {file.path}"), file.path.open("rb") as opened:
        if opened.read(4) == b"GGUF":
            return
    if file.name.lower().endswith(".gguf"):
        raise InvalidRequest(f"supplied file was not in GGUF format: {file.name}")
    raise InvalidRequest(f"unknown type: {file.name} is neither GGUF nor safetensors")


def _media_type(metadata: Mapping[str, Value]) -> str:
    """Model, adapter or projector: what a GGUF says of itself, by Ollama's rules."""
    kind, architecture = metadata.get("general.type"), metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise InvalidGGUF("general.architecture is missing: this GGUF is no model")
    if kind == "adapter":
        return layers.ADAPTER
    blocks = metadata.get(f"{architecture}.block_count")
    sees = [metadata.get(f"{architecture}.vision.block_count")]
    sees += [metadata.get(f"{architecture}.has_{sense}_encoder") for sense in ("vision", "audio")]
    is_projector = kind in ("projector", "mmproj") or (not blocks and any(sees))
    return layers.PROJECTOR if is_projector else layers.MODEL


def _differs(file: ModelFile, quantize: str, media_type: str) -> bool:
    """Whether the mix makes another file of it.

    Raises:
        InvalidRequest: no such mix, or the file has lost bits already.
    """
    mix, now = mix_named(quantize), ModelConfig.from_model(file).file_type
    if now == mix.name:
        return False
    if now not in FLOATS and media_type == layers.DRAFT:
        raise InvalidRequest(f"draft quantization requires an unquantized draft model, got {now}")
    if now not in FLOATS:
        raise InvalidRequest(f"quantization is only supported for F16, BF16 and F32 models, not {now}")
    return True
