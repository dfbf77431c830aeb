"""The header of a model that is not here, read in pieces where it lies: nothing is downloaded.

From a registry, a hub or an address: a few hundred kilobytes of each GGUF. Of a model in safetensors its configuration
and the files' own headers. Knows nothing of what headers are read for.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx

from puna.errors import ModelNotFound, TransferError, UnsupportedModel
from puna.gguf import ModelFile, open_model
from puna.gguf.skimming import MOST, ReadRange, skim
from puna.store import layers, manifest
from puna.store.pulling import by_files, origin_of
from puna.store.registry import pulling as registry
from puna.store.sources import fetching
from puna.store.sources.choosing import AtRegistry, AtUrl, InRepository, looks_like_path
from puna.store.sources.plan import PROJECTOR, Plan
from puna.store.sources.plan import plan as plan_repository
from puna.store.sources.repository import RemoteFile
from puna.store.store import Store
from puna.store.transfer import http
from puna.store.transfer.reading import read
from puna.store.transfer.retrying import Patience, Unavailable, retried
from puna.store.transfer.source import Remote, Source, probe

PATIENCE = Patience(attempts=3)
SMALL = 8 << 20  # bytes of a configuration or an index at most

_NEEDED = ("config.json", "model.safetensors.index.json")


@contextlib.contextmanager
def header(store: Store, text: str, *, insecure: bool = False, cancelled: threading.Event) -> Iterator[ModelFile]:
    """The model of that name, path or address, of which only metadata and tensors' names, shapes and types are read:
    from this machine, or from where `pull` would fetch it.

    Raises:
        ModelNotFound: it is neither here nor there.
        TransferError: it cannot be reached, or refuses, or gives no ranges.
        InvalidRequest, InvalidGGUF, UnsupportedModel, Cancelled.
    """
    try:
        local = store.resolve(text)
    except ModelNotFound as missing:
        if looks_like_path(text):
            raise
        try:
            with _remote(store, text, insecure, cancelled) as file:
                yield file
        except registry.NotInRegistry as error:
            raise ModelNotFound(f"{missing}; and the registry has none of that name") from error
        return
    with open_model(local.path) as file:
        yield file


@contextlib.contextmanager
def _remote(store: Store, text: str, insecure: bool, cancelled: threading.Event) -> Iterator[ModelFile]:
    origin = origin_of(store, text, insecure)
    with http.client(stall=PATIENCE.stall) as client:
        if isinstance(origin, AtRegistry):
            yield _of_registry(origin, insecure, cancelled)
        elif isinstance(origin, InRepository):
            known = None if by_files(origin) else _at_hubs_registry(origin, insecure, cancelled)
            with contextlib.nullcontext(known) if known else _of_repository(origin, client, cancelled) as file:
                yield file
        elif isinstance(origin, AtUrl):
            source = Source(origin.url)
            size, _ = retried(partial(probe, source, client), PATIENCE, cancelled)
            yield skim([(_ranges([source], size, client, cancelled), size)], origin.url)
        else:
            raise ModelNotFound(f"there is no {origin.path}")


def _at_hubs_registry(origin: InRepository, insecure: bool, cancelled: threading.Event) -> ModelFile | None:
    """None where the hub refuses to be asked as a registry: a model in several files, or in safetensors."""
    try:
        return _of_registry(AtRegistry(origin.name), insecure, cancelled)
    except registry.NoManifest:
        return None


def _of_registry(origin: AtRegistry, insecure: bool, cancelled: threading.Event) -> ModelFile:
    with registry.Registry(origin.name, insecure=insecure, patience=PATIENCE) as place:
        models = manifest.parse(place.manifest(cancelled), Path(str(origin.name))).of(layers.MODEL)
        if not models:
            raise UnsupportedModel(f"{origin.name} has no GGUF file: it cannot be planned for")
        size = models[0].size
        return skim([(_ranges(place.sources(models[0]), size, place.client, cancelled), size)], str(origin.name))


@contextlib.contextmanager
def _of_repository(origin: InRepository, client: httpx.Client, cancelled: threading.Event) -> Iterator[ModelFile]:
    repository = fetching.list_repository(origin, client, cancelled)
    chosen = plan_repository(repository, origin.wanted)
    if any(name.endswith(".safetensors") for name in chosen.files):
        with tempfile.TemporaryDirectory(prefix="puna-header-") as folder:
            _outline(chosen, Path(folder), client, cancelled)
            with open_model(Path(folder)) as file:
                yield file
        return
    shards = [file for name, file in chosen.files.items() if name != PROJECTOR]
    yield skim([(_ranges(file.sources, file.size, client, cancelled), file.size) for file in shards], repository.title)


def _outline(chosen: Plan, folder: Path, client: httpx.Client, cancelled: threading.Event) -> None:
    """A folder like the model's: its configuration, and files of its weights that are empty but for their headers."""
    left = MOST
    for name, file in chosen.files.items():
        target = folder / name
        if name in _NEEDED:
            target.write_bytes(read(file.sources, SMALL, client, cancelled, PATIENCE))
        elif name.endswith(".safetensors"):
            left -= _outline_weights(file, target, left, client, cancelled)


def _outline_weights(
    file: RemoteFile, target: Path, most: int, client: httpx.Client, cancelled: threading.Event
) -> int:
    """safetensors: the length of the header in 8 bytes, the header in JSON, then bytes that are not needed here."""
    ranges = _ranges(file.sources, file.size, client, cancelled)
    length = int.from_bytes(ranges(0, min(8, file.size)), "little")
    if length > min(most, file.size - 8):
        raise TransferError(f"{file.path!r:.80} is no file of safetensors, or has too long a header")
    with target.open("wb") as out:
        out.write(length.to_bytes(8, "little") + ranges(8, 8 + length))
        out.truncate(file.size)  # a hole: takes no room
    return length


def _ranges(sources: Sequence[Source], size: int, client: httpx.Client, cancelled: threading.Event) -> ReadRange:
    """Reads of the first source that gives what is asked for."""
    remotes = [Remote(source, client, size, PATIENCE, connections=1) for source in sources]

    def read_range(start: int, end: int) -> bytes:
        failures = []
        for remote in remotes:
            try:
                return retried(partial(_range, remote, start, end), PATIENCE, cancelled)
            except TransferError as error:
                failures.append(str(error))
        raise TransferError("; ".join(failures))

    return read_range


def _range(remote: Remote, start: int, end: int) -> bytes:
    data = bytearray()
    with remote.open(start, end) as body:
        if body.is_whole and start:
            raise TransferError(f"{remote.source.host} gives no ranges: the header would cost a download")
        for chunk in body.chunks():
            data += chunk
            if len(data) >= end - start:
                return bytes(data[: end - start])
    raise Unavailable(f"{remote.source.host} ended before all had come")
