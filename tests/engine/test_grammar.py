"""Answers held to a grammar: by the vocabulary of cria, whatever the model would rather say."""

from __future__ import annotations

import json
import re
from importlib.resources import as_file, files

import numpy as np
import pytest

from puna import tokenizer as tokenizers
from puna.engine.engine import Engine
from puna.engine.grammar import COMPILED_KEPT, MAX_REFERENCES, MAX_SOURCE, GrammarCompiler
from puna.engine.types import ErrorEvent, Event, FinishedEvent, GenerationRequest, Grammar, SamplingParams, TokenEvent
from puna.errors import InvalidRequest
from puna.gguf import open_model
from puna.tokenizer import Tokenizer
from tests.engine.toy_model import ToyModel

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "pets": {"type": "array", "items": {"enum": ["cat", "dog"]}, "maxItems": 3},
    },
    "required": ["name", "age", "pets"],
    "additionalProperties": False,
}
CONSTANT = {"type": "object", "properties": {"kind": {"const": "a long constant value"}}, "required": ["kind"]}
SCHEMAS = [
    PERSON,
    {**CONSTANT, "additionalProperties": False},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": -9, "maximum": 9}]},
    {"$defs": {"n": {"enum": [1, 2.5, "é", "深"]}}, "type": "array", "items": {"$ref": "#/$defs/n"}, "maxItems": 5},
]


def schema(value: object) -> Grammar:
    return Grammar("json_schema", json.dumps(value))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    with as_file(files("puna") / "data" / "cria.gguf") as path:
        return tokenizers.load(open_model(path))


def engine(tokenizer: Tokenizer, *, max_outputs: int = 16, seed: int = 0) -> Engine:
    model = ToyModel(vocab_size=tokenizer.vocab_size, num_blocks=16, max_tokens=64, max_outputs=max_outputs, seed=seed)
    return Engine(model, context=400, max_sequences=2, tokenizer=lambda: tokenizer)


def asked(
    tokenizer: Tokenizer, grammar: Grammar, *, seed: int = 0, draft_tokens: int | None = None
) -> GenerationRequest:
    sampling = SamplingParams(temperature=1.5, top_k=0, top_p=1, seed=seed)
    return GenerationRequest(
        f"r{seed}",
        (1, 5, 9),
        300,
        tokenizer.eog_ids,
        sampling,
        grammar=grammar,
        draft_tokens=draft_tokens,
    )


def run(machine: Engine, *requests: GenerationRequest) -> dict[str, list[Event]]:
    events: dict[str, list[Event]] = {request.id: [] for request in requests}
    for request in requests:
        machine.add(request)
    while machine.has_work:
        for event in machine.step():
            events[event.id].append(event)
        machine.scheduler.check()
    machine.close(0)
    return events


def text(tokenizer: Tokenizer, events: list[Event]) -> str:
    return b"".join(tokenizer.token_bytes(event.token) for event in events if isinstance(event, TokenEvent)).decode()


def reason(events: list[Event]) -> str:
    assert isinstance(events[-1], FinishedEvent), events[-1]
    return events[-1].reason


def conforms(value: object, to: dict[str, object]) -> bool:
    """Enough of JSON Schema for the schemas above."""
    match value:
        case {"name": str(name), "age": int(age), "pets": list(pets), **rest}:
            return to is PERSON and not rest and len(name) <= 6 and 0 <= age <= 120 and {*pets} <= {"cat", "dog"}
        case {"kind": kind, **rest}:
            return kind == "a long constant value" and not rest
        case None | int():
            return "anyOf" in to and (value is None or -9 <= value <= 9)
        case [*items] if "$defs" in to:
            return len(items) <= 5 and all(item in (1, 2.5, "é", "深") for item in items)
        case [*items]:
            return 2 <= len(items) <= 4 and all(isinstance(item, bool) for item in items)
    return False


@pytest.mark.parametrize("wanted", SCHEMAS, ids=lambda s: json.dumps(s)[:30])
def test_whatever_the_model_would_say_the_answer_is_json_of_the_schema(
    tokenizer: Tokenizer, wanted: dict[str, object]
) -> None:
    for seed in range(4):
        events = run(engine(tokenizer, seed=seed), asked(tokenizer, schema(wanted), seed=seed))[f"r{seed}"]
        assert reason(events) == "stop"
        answer = json.loads(text(tokenizer, events))
        assert conforms(answer, wanted), answer


def test_speculation_changes_nothing_and_forced_tokens_come_in_few_steps(tokenizer: Tokenizer) -> None:
    for seed, wanted in enumerate(SCHEMAS):
        plain, quick = engine(tokenizer), engine(tokenizer)
        expected = run(plain, asked(tokenizer, schema(wanted), seed=seed, draft_tokens=0))[f"r{seed}"]
        found = run(quick, asked(tokenizer, schema(wanted), seed=seed))[f"r{seed}"]
        assert text(tokenizer, found) == text(tokenizer, expected)
        assert reason(found) == reason(expected)
        assert isinstance(plain.model, ToyModel)
        assert isinstance(quick.model, ToyModel)
        if wanted is SCHEMAS[1]:
            assert len(quick.model.steps) < len(plain.model.steps) / 2


def test_a_constrained_and_a_free_sequence_run_side_by_side(tokenizer: Tokenizer) -> None:
    held = asked(tokenizer, schema(PERSON), seed=1)
    free = GenerationRequest("free", (4, 4, 7), 40, sampling=SamplingParams(seed=2))
    together = run(engine(tokenizer), held, free)
    assert together["free"][:40] == run(engine(tokenizer), free)["free"][:40]
    assert text(tokenizer, together["r1"]) == text(tokenizer, run(engine(tokenizer), held)["r1"])


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", "[0-9]{3}-(ab|深圳)"), "[0-9]{3}-(ab|深圳)"),
        (Grammar("lark", 'start: "<" WORD+ ">"\nWORD: /[xyz]{1,4} /'), "<([xyz]{1,4} )+>"),
        (Grammar("gbnf", 'root ::= "<" word+ ">"\nword ::= [xyz]{1,4} " "'), "<([xyz]{1,4} )+>"),
    ],
)
def test_regular_expressions_and_lark_grammars_hold_too(tokenizer: Tokenizer, grammar: Grammar, pattern: str) -> None:
    events = run(engine(tokenizer), asked(tokenizer, grammar))["r0"]
    assert re.fullmatch(pattern, text(tokenizer, events)) or reason(events) == "length"


@pytest.mark.parametrize(
    ("grammar", "because"),
    [
        (Grammar("json_schema", '{"type": "objekt"}'), "objekt"),
        (Grammar("json_schema", '{"not": {"type": "string"}}'), "not"),
        (Grammar("json_schema", '{"$ref": "#/nope"}'), "nope"),
        (Grammar("json_schema", "[1"), "JSON schema is not valid"),
        (Grammar("regex", "[0-9{3"), "unclosed"),
        (Grammar("lark", "nothing"), "grammar"),
        (Grammar("gbnf", "root ::= nothing"), "'nothing'"),
        (Grammar("regex", "a" * (MAX_SOURCE + 1)), "at most"),
        (schema({"anyOf": [{"$ref": "#/a"}] * (MAX_REFERENCES + 1)}), "references"),
    ],
)
def test_a_grammar_that_is_none_is_refused_with_the_reason(
    tokenizer: Tokenizer, grammar: Grammar, because: str
) -> None:
    (event,) = run(engine(tokenizer), asked(tokenizer, grammar))["r0"]
    assert isinstance(event, ErrorEvent)
    assert type(event.exception()) is InvalidRequest
    assert because in event.message


def test_without_a_tokenizer_a_grammar_is_refused() -> None:
    machine = Engine(ToyModel(), context=64, max_sequences=1)
    (event,) = run(machine, GenerationRequest("a", (1,), grammar=schema({})))["a"]
    assert isinstance(event, ErrorEvent)
    assert "no tokenizer" in event.message


def test_tokens_beyond_the_tokenizer_s_vocabulary_never_come(tokenizer: Tokenizer) -> None:
    constraint = GrammarCompiler(lambda: tokenizer, tokenizer.vocab_size + 70).compile(Grammar("regex", "(?s:.*)"))
    (mask,) = constraint.masks([]).result()
    assert len(mask) == tokenizer.vocab_size + 70
    assert (mask[: tokenizer.vocab_size] == 0).any()
    assert (mask[tokenizer.vocab_size :] == -np.inf).all()


def test_masks_after_a_draft_are_those_of_taking_it_and_leave_the_state(tokenizer: Tokenizer) -> None:
    compiler = GrammarCompiler(lambda: tokenizer, tokenizer.vocab_size)
    ahead, behind = compiler.compile(schema(PERSON)), compiler.compile(schema(PERSON))
    draft = ahead.forced(4)
    assert draft
    for _ in range(2):
        rows = ahead.masks(draft).result()
        assert len(rows) == 1 + len(draft)
    for row, token in zip(rows, [*draft, None], strict=True):
        assert (behind.masks([]).result()[0] == row).all()
        if token is not None:
            assert row[token] == 0
            behind.take(token)


def test_control_tokens_are_named_by_text_or_number_and_are_no_text(tokenizer: Tokenizer) -> None:
    number = tokenizer.control_tokens["<|im_start|>"]
    compiler = GrammarCompiler(lambda: tokenizer, tokenizer.vocab_size)
    for source in ("start: <|im_start|>", f"start: <[{number}]>"):
        assert compiler.compile(Grammar("lark", source)).allowed([number]) == 1
    assert compiler.compile(Grammar("lark", 'start: "<|im_start|>"')).allowed([number]) == 0


def test_a_compiled_grammar_used_again_begins_anew_and_few_are_kept(tokenizer: Tokenizer) -> None:
    compiler = GrammarCompiler(lambda: tokenizer, tokenizer.vocab_size)
    word = Grammar("regex", "[a-z]{3}")
    first = tokenizer.encode("abc", add_special=False)[0]
    for number in range(3 * COMPILED_KEPT):
        constraint = compiler.compile(word)
        assert constraint.allowed([first]) == 1
        constraint.take(first)
        compiler.compile(Grammar("regex", str(number)))
    assert len(compiler._compiled) == COMPILED_KEPT
    assert word in compiler._compiled
