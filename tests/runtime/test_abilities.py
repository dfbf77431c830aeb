"""What lists say that models can be asked for is what they can, found without their tokenizers."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from puna.gguf import GGUFWriter, ValueType
from puna.gguf.cursor import StringArray
from puna.gguf.reader import open_gguf
from puna.runtime import Runtime, TextModel
from puna.runtime.text import abilities
from puna.store import Store
from tests.server.variant import CALLER, THINKER, cria_with_template
from tests.store.ollama_store import CRIA, add_model

GO_CALLER = b"""{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if .ToolCalls }}{{ range .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}{{ else }}{{ .Content }}{{ end }}<|im_end|>
{{ end }}{{ if .Tools }}{{ .Tools }}{{ end }}<|im_start|>assistant
"""
OWN = 3  # the first of the tokens that cria writes calls with; no others are made of them
GO_INSERTER = b"{{ if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>{{ else }}{{ .Prompt }}{{ end }}"


def cria_with_tokens(path: Path, texts: list[str]) -> Path:
    """cria with others in place of those that it writes calls with."""
    with open_gguf(CRIA) as cria:
        writer = GGUFWriter()
        for key, value in cria.metadata.items():
            kind = cria.value_types[key]
            match key, value:
                case "tokenizer.ggml.tokens", StringArray():
                    writer.add(key, [*value[:OWN], *texts, *value[OWN + len(texts) :]])
                case _:
                    writer.add(key, value, None if kind is ValueType.ARRAY else kind)
        for tensor in cria.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.data)
        writer.write(path)
    return path


def test_the_list_says_what_the_model_itself_says(tmp_path: Path) -> None:
    root = tmp_path / "models"
    gguf = {
        "caller": cria_with_template(tmp_path / "caller.gguf", CALLER),
        "thinker": cria_with_template(tmp_path / "thinker.gguf", THINKER),
        "inserter": cria_with_tokens(tmp_path / "fim.gguf", ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]),
    }
    for name, path in gguf.items():
        add_model(root, f"registry.ollama.ai/library/{name}/latest", gguf=path.read_bytes())
    for name, template in (("go-caller", GO_CALLER), ("go-inserter", GO_INSERTER)):
        add_model(root, f"registry.ollama.ai/library/{name}/latest", layers=[("template", template)])
    store = Store(root)
    with Runtime(store) as runtime:
        listed = {model.name.partition(":")[0]: model.details for model in runtime.models()}
    listed.pop("all-minilm", None)  # where its package is installed
    assert {name: set(details.capabilities) - {"completion"} for name, details in listed.items()} == {
        "caller": {"tools"},
        "thinker": {"tools", "thinking"},
        "inserter": {"insert"},
        "go-caller": {"tools"},
        "go-inserter": {"insert"},
        "cria": set(),
    }
    for name in listed:
        local = store.resolve(name)
        assert abilities(local) == TextModel.open(local).local.details.abilities, name


def test_a_model_with_a_broken_template_is_still_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "models"
    add_model(root, layers=[("template", b"{{ if }}")])
    with Runtime(Store(root)) as runtime, caplog.at_level(logging.WARNING):
        [model] = [model for model in runtime.models() if model.name == "llama:latest"]
    assert model.details.capabilities == ("completion",)
    assert "llama:latest" in caplog.text
