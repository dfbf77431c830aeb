"""What reads files and texts that strangers made. Each takes any bytes and may raise nothing but a PunaError.

`TARGETS` has, for each name, the reader and well-formed inputs to start from.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from puna.chat import ChatTemplate, Message
from puna.chat.gotemplate import render_chat
from puna.conversion import import_folder, self_test
from puna.conversion.model_card import general_metadata
from puna.errors import PunaError
from puna.gguf import GGMLType, GGUFWriter, ModelConfig, ModelFile, ValueType, dequantize, open_model, quantize
from puna.gguf.huggingface.safetensors import open_safetensors
from puna.store import manifest
from puna.store.blobs import Blobs
from puna.store.modelfile import Modelfile
from puna.store.names import ModelName
from puna.tokenizer import load
from tests.conversion import folders
from tests.gguf.huggingface.folders import safetensors, weights
from tests.models import tiny

CHAT_TEMPLATES = Path(__file__).parents[1] / "chat" / "templates"
SCRATCH = Path(tempfile.mkdtemp(prefix="puna-fuzz-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
MOST = 1 << 22  # numbers of a tensor that are looked at


@dataclass(frozen=True, slots=True)
class Target:
    """A reader, and what it reads."""

    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]


def run(target: Target, data: bytes) -> None:
    """One input: what a PunaError refuses is well refused."""
    with suppress(PunaError):
        target.read(data)


# --- model files


def read_gguf(data: bytes) -> None:
    path = SCRATCH / "model.gguf"
    path.write_bytes(data)
    with open_model(path) as file:
        _look_through(file)


def _look_through(file: ModelFile) -> None:
    for value in file.metadata.values():
        if not isinstance(value, str | int | float):
            list(islice(value, 1000))
    for tensor in file.tensors.values():
        if tensor.elements < MOST:
            dequantize(tensor.data, tensor.type, tensor.shape)
    load(file).encode("Hello, world! \u4f60\u597d <|im_end|>", parse_special=True)
    self_test(file)
    ModelConfig.from_model(file)


def read_safetensors(data: bytes) -> None:
    path = SCRATCH / "model.safetensors"
    path.write_bytes(data)
    for tensor in open_safetensors(path).tensors.values():
        if len(tensor.shape) > 1:
            tensor.read(0, 1)


def in_folder(name: str, make: Callable[[Path], Path] = folders.tiny_model) -> Callable[[bytes], None]:
    """Import of a folder with one file replaced."""

    def read(data: bytes) -> None:
        folder = SCRATCH / name
        if not folder.exists():
            make(folder)
        kept = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).write_bytes(data)
        try:
            import_folder(folder, SCRATCH / "imported.gguf")
            with open_model(SCRATCH / "imported.gguf") as file:
                _look_through(file)
        finally:
            (folder / name).unlink() if kept is None else (folder / name).write_bytes(kept)

    return read


def with_tokenizer_json(folder: Path) -> Path:
    return folders.made(folder, folders.byte_level(["<eos>"]))


def read_card(data: bytes) -> None:
    (SCRATCH / "README.md").write_bytes(data)
    file: Any = type("File", (), {"tensors": {}})()
    for value in general_metadata(SCRATCH, file)[0].values():
        assert isinstance(value, int | str | list)


def read_sentencepiece(data: bytes) -> None:
    folder = SCRATCH / "sentencepiece"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(data)
    file: Any = type("File", (), {"metadata": {}, "folder": folder})()
    load(file).encode("Hello, world! \u4f60\u597d")


def _gguf_seeds() -> list[bytes]:
    """A whole model of one number a token, with a value of every kind."""
    path, config = SCRATCH / "seed.gguf", {"chat_template": _JINJA, "eos_token": "<eos>"}
    import_folder(folders.made(SCRATCH / "seed folder", folders.byte_level(["<eos>"]), config=config), path)
    writer = GGUFWriter()
    with open_model(path) as file:
        for key, value in file.metadata.items():
            writer.add(key, value)
        for tensor in file.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.data)
    writer.add("a.bool", True)
    writer.add("a.float", 0.1, ValueType.FLOAT64)
    writer.add("an.array", np.array([-1, 0, 1], np.int16))
    writer.add("nested", (np.array([7], np.uint32), ("a", "")))
    writer.add_tensor("extra", (2, 32), GGMLType.Q8_0, quantize(np.ones((2, 32), np.float32), GGMLType.Q8_0))
    writer.write(path)
    return [path.read_bytes()]


def _sentencepiece_seeds() -> list[bytes]:
    special = [
        ("<unk>", folders.UNKNOWN),
        ("<s>", folders.CONTROL),
        ("</s>", folders.CONTROL),
        ("<0x41>", folders.BYTE),
    ]
    return [folders.sentencepiece([*special, *((text, folders.NORMAL) for text in ("\u2581", "a", "\u2581a"))])]


def _tokenizer_seeds() -> list[bytes]:
    backends = [
        folders.byte_level(["<eos>"], ["<tool>"]),
        tokenizers.Tokenizer(tokenizers.models.Unigram([("a", -1.0)], 0)),
    ]
    backends[1].pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    return [backend.to_str().encode() for backend in backends]


# --- the store


def read_manifest(data: bytes) -> None:
    parsed = manifest.parse(data, Path("manifest"))
    for layer in parsed.parts:
        path = Blobs(SCRATCH).path(layer.digest)
        assert path.resolve().is_relative_to(SCRATCH.resolve()), path


def read_name(data: bytes) -> None:
    name = ModelName.parse(data.decode("utf-8", "surrogateescape"))
    path = manifest.path_of(SCRATCH / "store", name)
    assert path.resolve().is_relative_to(SCRATCH.resolve() / "store"), path
    assert ModelName.parse(str(name)) == name


def read_modelfile(data: bytes) -> None:
    parsed = Modelfile.parse(data)
    assert Modelfile.parse(str(parsed)) == parsed


_LAYER = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "a1" * 32, "size": 3}
_MANIFEST = {"schemaVersion": 2, "config": _LAYER, "layers": [_LAYER]}
_MODELFILE = (
    b'FROM ./m.gguf\nPARAMETER stop "<|im_end|>"\nTEMPLATE """{{ .Prompt }}"""\nMESSAGE user hi\nSYSTEM a\n# c\n'
)


# --- templates

_MESSAGES = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "a"},
]
_PARAMETERS = {"type": "object", "properties": {"a": {"type": "string", "description": "d"}}}
_TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": _PARAMETERS}}]
_JINJA = "{% for message in messages %}{{ message.role }}: {{ message.content }}<eos>{% endfor %}"
_GO = (
    b"{{ if .System }}<|system|>{{ .System }}{{ end }}{{ range $i, $_ := .Messages }}{{ .Role }}: {{ .Content }}"
    b'{{ if eq (len (slice $.Messages $i)) 1 }}!{{ end }}{{ end }}{{ json .Tools }}{{ printf "%q %v" .Prompt 3 }}'
)


def read_go_template(data: bytes) -> None:
    render_chat(data.decode("utf-8", "replace"), _MESSAGES, tools=_TOOLS, think=True)


def read_jinja_template(data: bytes) -> None:
    template = ChatTemplate(data.decode("utf-8", "replace"), bos_token="<s>")
    template.render([Message("system", "s"), Message("user", "u"), Message("assistant", "a")], tools=_TOOLS)


def _jinja_seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted(CHAT_TEMPLATES.glob("*.jinja"))]


TARGETS = {
    "gguf": Target(read_gguf, _gguf_seeds),
    "safetensors": Target(read_safetensors, lambda: [safetensors(weights())]),
    "config": Target(in_folder("config.json"), lambda: [json.dumps(tiny.CONFIGS["llama"]).encode()]),
    "tokenizer": Target(in_folder("tokenizer.json", with_tokenizer_json), _tokenizer_seeds),
    "tokenizer-config": Target(in_folder("tokenizer_config.json"), lambda: [b'{"bos_token": {"content": "<s>"}}']),
    "model-card": Target(read_card, lambda: [b"---\nlicense: mit\ntags: [a, b]\nb: &x\n  <<: *y\n---\n"]),
    "sentencepiece": Target(read_sentencepiece, _sentencepiece_seeds),
    "manifest": Target(read_manifest, lambda: [json.dumps(_MANIFEST).encode()]),
    "name": Target(read_name, lambda: [b"hf.co/user/model:Q4_K_M", b"http://localhost:5000/a/b"]),
    "modelfile": Target(read_modelfile, lambda: [_MODELFILE]),
    "go": Target(read_go_template, lambda: [_GO]),
    "jinja": Target(read_jinja_template, _jinja_seeds),
}
