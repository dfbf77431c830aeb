"""Models with a template layer: prompts, history, tools, thinking and filling in follow it, not the file's Jinja."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from puna.chat import Message, Tool
from puna.errors import InvalidRequest, TemplateError
from puna.runtime import ChatRequest, CompletionRequest, Options, Runtime
from puna.store import Store
from tests.chat.gotemplate import published
from tests.store.ollama_store import add_model

ALPACA = "### Instruction:\nhi\n\n### Response:\n"
TOOL = Tool("look_up", "The weather", {"type": "object", "properties": {"place": {"type": "string"}}})


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", text)


def add(models: Path, template: str, *, config: Mapping[str, object] | None = None) -> Runtime:
    """A runtime over a store with the one model `llama`, cria under another template."""
    add_model(models, layers=[("template", template.encode())], config=config)
    return Runtime(Store(models))


def test_prompts_follow_the_template_layer(models: Path) -> None:
    with add(models, published.ALPACA) as runtime:
        prompt = runtime.prompt(ChatRequest("llama", (user("hi"),)))
        assert prompt.text == ALPACA
        assert prompt.warnings == ()
        assert runtime.text_model("llama").has_go_template
        assert runtime.text_model("llama").template_source == published.ALPACA


def test_the_oldest_rounds_go_under_a_go_template_too(models: Path) -> None:
    rounds = [turn for count in range(40) for turn in (user(f"question {count}"), assistant("answer"))]
    with add(models, published.CHATML) as runtime:
        request = ChatRequest("llama", (Message("system", "S."), *rounds, user("last")), Options(context_length=128))
        prompt = runtime.prompt(request)
    assert prompt.text.startswith("<|im_start|>system\nS.<|im_end|>\n<|im_start|>user\nquestion ")
    assert prompt.text.endswith("last<|im_end|>\n<|im_start|>assistant\n")
    assert prompt.context.dropped_messages > 0


@pytest.mark.parametrize("template", [published.CHATML, published.QWEN25, published.ZEPHYR])
def test_an_answer_that_was_begun_is_continued(models: Path, template: str) -> None:
    with add(models, template) as runtime:
        prompt = runtime.prompt(ChatRequest("llama", (user("hi"), assistant("Once"))))
    assert prompt.text.endswith("Once")
    assert prompt.continues


def test_a_model_that_ollama_renders_by_code_follows_the_files_own_template(models: Path) -> None:
    config = {"model_format": "gguf", "model_family": "llama", "model_type": "3M", "file_type": "Q8_0", "renderer": "x"}
    with add(models, "{{ .Prompt }}", config=config) as runtime:
        prompt = runtime.prompt(ChatRequest("llama", (user("hi"),)))
    assert prompt.text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert any("Go template is not used" in warning for warning in prompt.warnings)


def test_what_the_template_can_do_is_what_the_model_can_do(models: Path) -> None:
    template = (
        published.QWEN25
        + "{{ if .Suffix }}{{ end }}{{ range .Messages }}{{ with .Thinking }}<think>{{ . }}</think>{{ end }}{{ end }}"
    )
    with add(models, template) as runtime:
        assert runtime.text_model("llama").local.details.abilities == ("tools", "insert", "thinking")


def test_tools_reach_the_prompt(models: Path) -> None:
    with add(models, published.QWEN25) as runtime:
        prompt = runtime.prompt(ChatRequest("llama", (user("hi"),), tools=(TOOL,)))
    assert '<tools>\n{"type": "function", "function": {"name":"look_up",' in prompt.text
    assert prompt.tools == (TOOL,)


@pytest.mark.parametrize(("think", "end"), [(None, ""), (True, ""), (False, "<think>\n\n</think>\n\n")])
def test_thinking_is_switched_by_the_template(models: Path, think: bool | None, end: str) -> None:
    with add(models, published.QWEN3) as runtime:
        prompt = runtime.prompt(ChatRequest("llama", (user("hi"),), think=think))
    assert prompt.text.endswith(f"<|im_start|>assistant\n{end}")


def test_a_suffix_is_written_by_the_template(models: Path) -> None:
    with add(models, published.CODELLAMA) as runtime:
        prompt = runtime.prompt(CompletionRequest("llama", "def add(", suffix="return x"))
    assert prompt.text == "<PRE> def add( <SUF>return x <MID>"


def test_a_template_in_a_request_stands_in_for_the_models_own(runtime: Runtime) -> None:
    request = CompletionRequest("cria", "hi", system="S.", template="{{ .System }}-{{ .Prompt }}-{{ .Response }}-")
    assert runtime.prompt(request).text == "S.-hi-"
    assert "im_start" in runtime.prompt(CompletionRequest("cria", "hi")).text  # the next request has the model's own
    suffixed = CompletionRequest("cria", "a", suffix="b", template="{{ .Prompt }}_{{ .Suffix }}")
    assert runtime.prompt(suffixed).text == "a_b"


def test_a_template_in_a_request_that_cannot_be_used_is_refused(runtime: Runtime) -> None:
    with pytest.raises(TemplateError, match="line 1"):
        runtime.prompt(CompletionRequest("cria", "hi", template="{{ range }}"))
    with pytest.raises(InvalidRequest, match="Suffix"):
        runtime.prompt(CompletionRequest("cria", "a", suffix="b", template="{{ .Prompt }}"))


@pytest.mark.parametrize("system", [None, "S."])
def test_a_turn_after_earlier_tokens_begins_with_the_end_of_the_answer(models: Path, system: str | None) -> None:
    with add(models, published.CHATML) as runtime:
        prompt = runtime.prompt(CompletionRequest("llama", "more", system=system, context=(5, 6)))
    opened = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    assert prompt.text == f"<|im_end|>\n{opened}<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n"


def test_a_layer_that_is_no_template_is_refused_with_its_line(models: Path) -> None:
    with add(models, "a\n{{ .b") as runtime, pytest.raises(TemplateError, match="line 2"):
        runtime.prompt(ChatRequest("llama", (user("hi"),)))
