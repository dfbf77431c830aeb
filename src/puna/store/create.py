"""A new model: the weights of another model or of files, with texts and parameters of its own.

What does not change is shared with the model that it is made from; what does is a new layer. Rules, statuses and
errors are Ollama's (server/create.go), and so are the bytes of what is written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from puna.conversion import self_test
from puna.errors import InvalidRequest, ModelNotFound, PunaError, UnsupportedModel
from puna.gguf import ModelConfig, open_model
from puna.store import go_json, layers, management, manifest
from puna.store.blobs import Blobs
from puna.store.components import Components
from puna.store.create_request import DIGEST, CreateRequest, digest_of
from puna.store.layers import Config, Draft, Layer
from puna.store.names import ModelName
from puna.store.progress import Progress, Report, check, ignore
from puna.store.store import CRIA, Store, human_count
from puna.store.weights import File, Weights

Pull: TypeAlias = Callable[[str], ModelName]

# Of a config, what is not told by the weights already.
_CHOSEN = ("renderer", "parser", "requires", "capabilities", "base_name", "draft")


def create(
    store: Store,
    request: CreateRequest,
    *,
    pull: Pull | None = None,
    report: Report = ignore,
    cancelled: threading.Event | None = None,
) -> None:
    """Make the model; one of that name is replaced.

    A model that is here already under another name gets that one's manifest, so that equal models have equal digests.

    pull: brings the model that it is made from, where that is not here.

    Raises:
        InvalidRequest: the request contradicts itself, or a file is not what it should be; Ollama's words.
        ModelNotFound: a blob, or the model that it is made from, is not in the store.
        InvalidGGUF, InvalidTokenizer, UnsupportedModel, StoreError, Cancelled, and what `pull` raises.
    """
    name = ModelName.parse(request.model)
    info, given = request.config_fields(), request.digests()
    request.check()
    before = frozenset(digest for digest, _ in store.blobs.each())
    with store.blobs.pinned(given) as blobs:
        creation = _Creation(store, blobs, request, report, cancelled)
        base, inherited = creation.base(pull)
        made = creation.texts(creation.adapted(base), drafts=creation.drafts())
        config = replace(creation.config(inherited, made), **info)
        creation.test(made)
        check(cancelled)
        raw = _known(store, made, config, info)
        if raw is None:
            raw = layers.manifest_bytes(blobs.add_bytes(config.to_bytes(), layers.CONFIG), tuple(made))
        blobs.pin(manifest.parse(raw, store.root).digests)
        for layer in made:
            what = "using existing layer" if layer.digest in before else "creating new layer"
            report(Progress(f"{what} sha256:{layer.digest}"))
        report(Progress("writing manifest"))
        management.commit(store.root, name, raw)


@dataclass(frozen=True, slots=True)
class _Creation:
    """The steps of one creation."""

    store: Store
    blobs: Blobs  # inside `pinned`
    request: CreateRequest
    report: Report
    cancelled: threading.Event | None

    def base(self, pull: Pull | None) -> tuple[list[Layer], Config]:
        """The layers of what it is made from, and what it takes from that one's config."""
        request, here = self.request, self.request.components or Components()
        if from_ := request.from_ or here.from_:
            return self._model(from_, pull)
        if here.folder:
            return [self._weights.imported(here.folder, quantize=request.quantize)], Config()
        files = [*self._uploaded(request.files), *map(self._on_disk, here.files)]
        if not files:
            raise InvalidRequest("neither 'from' or 'files' was specified")
        if any(file.name.endswith(".safetensors") for file in files):
            title = ModelName.parse(request.model).model
            return [self._weights.linked(files, title, quantize=request.quantize)], Config()
        found = self._weights.layers(files, quantize=request.quantize)
        if not any(layer.media_type == layers.MODEL for layer in found):
            raise InvalidRequest("no base model was found: an adapter or a projector is a part of one")
        return found, Config()

    def adapted(self, base: Sequence[Layer]) -> list[Layer]:
        """The layers with the LoRA adapter, if there is one; an older one gives way to it."""
        here = self.request.components or Components()
        files = [*self._uploaded(self.request.adapters), *map(self._on_disk, here.adapters)]
        if not files:
            return list(base)
        self.report(Progress("converting adapter"))
        kept = [layer for layer in base if layer.media_type != layers.ADAPTER]
        if any(file.name.endswith(".safetensors") for file in files):
            return [*kept, self._weights.linked_adapter(files, self._model_layer(base))]
        if len(files) > 1:
            raise InvalidRequest("only one adapter is currently supported")
        if files[0].path.is_dir():
            return [*kept, self._weights.imported_adapter(files[0].path, self._model_layer(base))]
        return [*kept, *self._weights.layers(files, media_type=layers.ADAPTER)]

    def _model_layer(self, base: Sequence[Layer]) -> Layer:
        return next(layer for layer in base if layer.media_type == layers.MODEL)

    def drafts(self) -> list[Layer]:
        """The draft model, if there is one."""
        here = self.request.components or Components()
        files = [*self._uploaded(self.request.draft_files), *map(self._on_disk, here.drafts)]
        if self.request.draft_quantize and not files:
            raise InvalidRequest("--draft-quantize requires a DRAFT model")
        found = self._weights.layers(files, media_type=layers.DRAFT, quantize=self.request.draft_quantize)
        if len(found) > 1:
            raise InvalidRequest("only one draft model is supported")
        return found

    def texts(self, base: Sequence[Layer], *, drafts: Sequence[Layer] = ()) -> list[Layer]:
        """All layers: those of `base`, and what the request has in their place or beside them."""
        request = self.request
        made = [*(layer for layer in base if not drafts or layer.media_type != layers.DRAFT), *drafts]
        if request.template:
            made = self._replaced(made, layers.TEMPLATE, _utf8(request.template), also=layers.PROMPT)
        if request.system:
            made = self._replaced(made, layers.SYSTEM, _utf8(request.system))
        for text in request.licenses:
            added = self._added(_utf8(text), layers.LICENSE)
            made += [] if any(added.digest == layer.digest for layer in made) else [added]
        if parameters := self._parameters(base) | dict(request.parameters):
            made = self._replaced(made, layers.PARAMS, _json(dict(sorted(parameters.items()))))
        if request.messages:
            made = self._replaced(made, layers.MESSAGES, _json([dict(message) for message in request.messages]))
        return made

    def config(self, inherited: Config, made: Iterable[Layer]) -> Config:
        """What the config says of the model."""
        request = self.request
        config = replace(
            inherited,
            renderer=request.renderer or inherited.renderer,
            parser=request.parser or inherited.parser,
            requires=request.version() or inherited.requires,
        )
        for layer in made:
            if layer.media_type == layers.MODEL:
                config = self._described(config, layer)
            elif layer.media_type == layers.DRAFT:
                with open_model(self.blobs.file(layer.digest)) as file:
                    config = replace(config, draft=Draft("gguf", str(file.metadata.get("general.architecture", ""))))
        return config

    def test(self, made: Iterable[Layer]) -> None:
        """Say at once what looks wrong with the template and the tokenizer of weights that are new here."""
        if self.request.template or self.request.from_ or (self.request.components or Components()).from_:
            return
        for layer in made:
            if layer.media_type == layers.MODEL:
                with open_model(self.blobs.file(layer.digest)) as file:
                    embeds = "bert" in str(file.metadata.get("general.architecture"))
                    for finding in () if embeds else self_test(file):
                        self.report(Progress("testing the template", warning=finding))

    def _described(self, config: Config, model: Layer) -> Config:
        with open_model(self.blobs.file(model.digest)) as file:
            of_file = ModelConfig.from_model(file)
        return replace(
            config,
            model_format="gguf",
            model_family=of_file.architecture,
            model_families=(of_file.architecture,),
            model_type=human_count(of_file.parameter_count),
            file_type=of_file.file_type,
        )

    def _model(self, text: str, pull: Pull | None) -> tuple[list[Layer], Config]:
        """The layers of a model that is here, or that is pulled."""
        name = ModelName.parse(text)
        there = management.is_there(self.store.root, name)
        if not there and name.same(CRIA):
            in_the_box = self.store.resolve(str(CRIA)).path
            added = self.blobs.add_file(in_the_box, layers.MODEL, reference=self.request.reference)
            return [self._quantized(replace(added, from_=str(name)))], Config()
        if not there and pull is None:
            raise self.store.not_found(text)
        if not there and pull is not None:
            name = pull(text)
        read = manifest.read(management.existing(self.store.root, name))
        self.blobs.pin(read.digests)
        config = Config.of(_document(self.store, read.config))
        if config.remote_host or not read.of(layers.MODEL):
            raise UnsupportedModel(f"{name} has no GGUF file: models are made of those that run on this machine")
        found = [replace(self._quantized(layer), from_=str(name)) for layer in read.layers]
        kept = Config(renderer=config.renderer, parser=config.parser, requires=config.requires)
        return found, replace(kept, capabilities=config.capabilities)

    def _quantized(self, layer: Layer) -> Layer:
        if self.request.quantize and layer.media_type == layers.MODEL:
            return self._weights.quantized(layer, self.request.quantize)
        return layer

    def _uploaded(self, files: Mapping[str, str]) -> list[File]:
        return [self._upload(name, digest_of(text)) for name, text in sorted(files.items())]

    def _upload(self, name: str, digest: str) -> File:
        if not self.blobs.has(digest):
            raise ModelNotFound(f"{name}: blob sha256:{digest} not found: POST it to /api/blobs/sha256:{digest} first")
        return File(name, self.blobs.file(digest), digest)

    def _on_disk(self, path: Path) -> File:
        """A file of this machine; one of the store's own blobs, as a Modelfile of `puna show` has it, is that blob."""
        found = DIGEST.fullmatch(path.name)
        if found is None or self.blobs.folder.resolve() != path.parent.resolve() or not self.blobs.has(found[1]):
            return File(path.name, path)
        self.blobs.pin([found[1]])
        return File(path.name, path, found[1])

    def _parameters(self, base: Iterable[Layer]) -> dict[str, object]:
        parameters: dict[str, object] = {}
        for layer in base:
            if layer.media_type == layers.PARAMS:
                parameters |= _document(self.store, layer)
        return parameters

    def _replaced(self, made: Iterable[Layer], media_type: str, data: bytes, *, also: str = "") -> list[Layer]:
        return [*(layer for layer in made if layer.media_type not in (media_type, also)), self._added(data, media_type)]

    def _added(self, data: bytes, media_type: str) -> Layer:
        if len(data) > manifest.MAX_TEXT:
            raise InvalidRequest(
                f"a text of the model has {len(data)} bytes; {manifest.MAX_TEXT} are the most it may have"
            )
        return self.blobs.add_bytes(data, media_type)

    @property
    def _weights(self) -> Weights:
        return Weights(self.blobs, self.report, self.cancelled, self.request.reference, self.request.expendable)


def _known(store: Store, made: Iterable[Layer], config: Config, info: Mapping[str, object]) -> bytes | None:
    """The manifest of a model in the store that is the same: its layers of each kind, and what its config chooses.

    What configs tell of the weights does not count, for it was written by many programs.
    """
    wanted, chosen = _contents(store, made), {name: getattr(config, name) for name in (*_CHOSEN, *info)}
    for _, path in manifest.names(store.root):
        try:
            read = manifest.read(path)
            if [layer.digest for layer in read.of(layers.MODEL)] != wanted[layers.MODEL]:
                continue
            other = Config.of(_document(store, read.config))
            if _contents(store, read.layers) == wanted and {each: getattr(other, each) for each in chosen} == chosen:
                return read.raw
        except (OSError, PunaError):  # a damaged model is like no other
            continue
    return None


def _contents(store: Store, parts: Iterable[Layer]) -> dict[str, list[object]]:
    """What the layers of each kind say. JSON may be written in several ways; else digests will do."""
    contents: dict[str, list[object]] = {}
    for layer in parts:
        is_json = layer.media_type in (layers.PARAMS, layers.MESSAGES)
        said = manifest.document(store.root, layer) if is_json else layer.digest
        contents.setdefault(layer.media_type, []).append(said)
    return contents


def _document(store: Store, layer: Layer) -> dict[str, object]:
    document = manifest.document(store.root, layer)
    if not isinstance(document, dict):
        raise UnsupportedModel(f"the blob sha256:{layer.digest} should be a JSON object")
    return document


def _json(value: object) -> bytes:
    try:
        return go_json.encode(value)
    except (ValueError, RecursionError) as error:  # of a layer that another program wrote
        raise InvalidRequest(f"parameters or messages cannot be written as JSON: {error}") from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"half a character at {error.start} of a text: {text[max(0, error.start - 20) : error.start]!r} ..."
        ) from None
