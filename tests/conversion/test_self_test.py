"""The template self-test: silent on published templates, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from puna.chat import ChatTemplate
from puna.conversion import self_test
from puna.conversion.self_test import findings
from puna.gguf import open_model
from puna.tokenizer import Tokenizer
from puna.tokenizer.pieces import byte_alphabet
from tests.chat.answers.families import EXTRACTS
from tests.tokenizer.vocabularies import CRIA, tokenizer_of

TEMPLATES = Path(__file__).parents[1] / "chat" / "templates"
MARKS = re.compile(r"<\|[^<>|\s'\"]+\|?>|<\uff5c[^<>\uff5c'\"]+\uff5c>|<[a-z_]+:[a-z_]+>|<[a-z]+(?:_[a-z]+)+>")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_MARKS = ("<|im_start|>", "<|im_end|>")


def vocabulary(marks: tuple[str, ...], eos: str | None = None, bos: str | None = None) -> dict[str, Any]:
    """The 256 bytes and control tokens."""
    tokens = [*byte_alphabet(), *marks]
    ids = {f"tokenizer.ggml.{role}_token_id": tokens.index(text) for role, text in (("bos", bos), ("eos", eos)) if text}
    return ids | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * 256 + [3] * len(marks),
        "tokenizer.ggml.merges": [],
    }


def found(template: str, tokenizer: Tokenizer, bos_token: str = "", eos_token: str = "") -> list[str]:
    return list(findings(ChatTemplate(template, bos_token=bos_token, eos_token=eos_token), tokenizer))


CHATML_TOKENIZER = tokenizer_of(vocabulary(CHATML_MARKS, "<|im_end|>"))

# What is not in END_TEXTS: the ends that these models' generation_config.json names.
ENDS = {"apertus": "<|assistant_end|>", "glm4.6": "<|user|>", "seed-oss": "<seed:eos>"}
TRULY = {"granite3.3": ["the chat template leaves out the calls of tools"]}  # it writes results only


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
def test_published_templates_pass(path: Path) -> None:
    source = path.read_text("utf-8")
    eos = ENDS.get(path.stem, "</s>")
    marks = tuple(sorted({*MARKS.findall(source), "<s>", "</s>", eos}))
    tokenizer = tokenizer_of(vocabulary(marks, eos, "<s>"))
    assert found(source, tokenizer, bos_token="<s>", eos_token=eos) == TRULY.get(path.stem, [])


@pytest.mark.parametrize("name", EXTRACTS)
def test_every_familys_calls_pass(name: str) -> None:
    assert found(EXTRACTS[name], tokenizer_of(vocabulary(("<s>", "</s>"), "</s>"))) == []


def test_cria_passes() -> None:
    with open_model(CRIA) as file:
        assert self_test(file) == ()


FAULTS: dict[str, tuple[str, str]] = {
    "no user": (
        CHATML.replace("{{ m.content }}", "{{ m.content if m.role != 'user' }}"),
        "leaves out earlier messages and the user's last message",
    ),
    "no answers": (CHATML.replace("{{ m.content }}", "{{ m.content if m.role != 'assistant' }}"), "earlier answers"),
    "last only": (CHATML.replace("for m in messages", "for m in messages[:2]"), "leaves out the user's last message"),
    "another order": (CHATML.replace("in messages", "in messages | reverse"), "puts the messages in another order"),
    "no system": (CHATML.replace("in messages", "in messages if m.role != 'system'"), "drops the system message"),
    "refused system": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + CHATML,
        "refuses a system message.*no system here",
    ),
    "refused": ("{{ raise_exception('only poems') }}", "refuses a plain conversation.*only poems"),
    "unknown token": (
        CHATML.replace("<|im_start|>", "<|begin|>"),
        r"writes '<\|begin\|>', which is no token.*9 pieces",
    ),
    "no end": (CHATML.replace("<|im_end|>", ""), r"'<\|im_start\|>', which the model file does not count"),
    "no marks": (re.sub(r"<\|\w+\|>", "", CHATML), "writes no token after an answer"),
    "another end": (
        CHATML.replace("<|im_end|>", "<|im_start|>"),
        r"'<\|im_start\|>', which the model file does not count",
    ),
    "tools without calls": ("{{ tools }}" + CHATML, "how it writes calls is not known"),
    "thought": (CHATML.replace("{{ m.content }}", "{{ m.content if not m.thinking }}"), "that was thought about"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_template_with_one_fault_gets_one_sentence(fault: str) -> None:
    template, sentence = FAULTS[fault]
    told = found(template, CHATML_TOKENIZER)
    assert len(told) == 1, told
    assert re.search(sentence, told[0])


def test_a_template_without_faults_gets_none() -> None:
    assert found(CHATML, CHATML_TOKENIZER) == []


def test_results_of_tools_that_are_lost_are_told() -> None:
    broken = (TEMPLATES / "qwen2.5.jinja").read_text("utf-8").replace("{{- message.content }}", "")
    tokenizer = tokenizer_of(vocabulary(CHATML_MARKS, "<|im_end|>"))
    assert found(broken, tokenizer) == ["the chat template leaves out the results of tools"]


def test_bos_twice_is_told_and_once_is_not() -> None:
    tokenizer = tokenizer_of(vocabulary((*CHATML_MARKS, "<s>"), "<|im_end|>", "<s>"))
    assert found("{{ bos_token }}" + CHATML, tokenizer, bos_token="<s>") == []
    assert found("{{ bos_token }}<s>" + CHATML, tokenizer, bos_token="<s>") == [
        "the chat template writes '<s>' twice at the beginning"
    ]


@dataclass
class File:
    """What the self-test needs of a model file."""

    metadata: dict[str, Any]
    folder: Path | None = field(default=None)


def test_a_model_without_a_template_is_told_once() -> None:
    (sentence,) = self_test(File(vocabulary(CHATML_MARKS, "<|im_end|>")))  # type: ignore[arg-type]
    assert sentence.startswith("there is no chat template")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "carries no tokenizer"),
        (vocabulary(CHATML_MARKS) | {"tokenizer.chat_template": "{% for %}"}, "chat template"),
    ],
)
def test_what_cannot_be_read_is_a_sentence_and_no_failure(metadata: dict[str, Any], reason: str) -> None:
    (sentence,) = self_test(File(metadata))  # type: ignore[arg-type]
    assert sentence.startswith("the model cannot be talked to")
    assert reason in sentence
