"""Requests made up from the OpenAPI document, to a real server: `python -m tests.server.fuzzing [EXAMPLES] [SEED]`.

What the document allows and what it does not, with names of models and options that are there often enough to get past
the first checks. Nothing may be answered by 500, or not be answered.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok

from puna.runtime.parameters import _FIELDS as OPTIONS
from tests.server.process import server_process

Operation = APIOperation[Any, Any, Any, Any]
AnyCase = Case[Any]

SECONDS = 30.0  # within which everything is answered
FULL = 2000
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody is there
ACCEPTED = frozenset({400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 429, 503})  # besides what is below 400

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 40),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
TEXT = st.text(max_size=30)
CONTENT = st.one_of(TEXT, TEXT, TEXT, SCALARS, st.lists(SCALARS, max_size=3))
ROLES = st.sampled_from(["user", "user", "assistant", "system", "tool", "x"])
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": CONTENT}), max_size=4)
SCHEMAS = st.sampled_from([{"type": "object"}, {"type": "integer"}, {"enum": ["a", 1]}, {"$ref": "#"}, {"type": 3}, {}])
TOOLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["function", "custom"]),
            "name": st.sampled_from(["add", "", "a b"]),
            "input_schema": SCHEMAS,
            "function": st.fixed_dictionaries({"name": st.sampled_from(["add", "sub", ""]), "parameters": SCHEMAS}),
        }
    ),
    max_size=3,
)
RIGHT: dict[str, Any] = {  # the fields without which nothing happens
    "model": "cria",
    "messages": [{"role": "user", "content": "hi"}],
    "prompt": "hi",
    "input": "hi",
    "max_tokens": 4,
    "max_output_tokens": 4,
    "tokens": [300, 301],
    "documents": ["a"],
}
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["cria", "Cria:latest"]),
    "messages": MESSAGES,
    "tools": TOOLS,
    "format": st.one_of(st.sampled_from(["json", "", {}]), SCHEMAS),
    "response_format": st.fixed_dictionaries(
        {"type": st.sampled_from(["json_object", "json_schema", "text"]), "json_schema": SCHEMAS}
    ),
    "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "any"}, {"type": "function"}]),
}


class Fuzzer:
    """Sends requests; keeps what was answered, and what should not have been answered so."""

    def __init__(self, url: str) -> None:
        self._document: dict[str, Any] = httpx.get(f"{url}/openapi.json").json()
        self._schema = schemathesis.openapi.from_dict(self._document)
        self._schema.config.update(base_url=url)
        self.seen: Counter[tuple[str, int]] = Counter()
        self.failures: list[str] = []  # one for each operation at most

    def run(self, examples: int, start: int = 0) -> None:
        """So many requests at least, spread over all operations; `start` seeds their choice."""
        while self.seen.total() < examples and not self.failures:
            self._round(examples - self.seen.total(), start)
            start += 1

    def _round(self, examples: int, start: int) -> None:
        """About so many: an operation that takes nothing is not asked twice."""
        read = [result.ok() for result in self._schema.get_all_operations() if isinstance(result, Ok)]
        assert len(read) == sum(map(len, self._document["paths"].values())), "an operation could not be read"
        weights = [8 if operation.method == "post" else 1 for operation in read]
        for operation, weight in zip(read, weights, strict=True):
            share = max(1, round(examples * weight / sum(weights)))
            try:
                for mode in _modes(_fields(self._document, operation)):
                    self._fuzz(operation, mode, share // 2 + 1, start)
            except AssertionError as error:
                self.failures.append(str(error))

    def _fuzz(self, operation: Operation, mode: GenerationMode, examples: int, start: int) -> None:
        fields = _fields(self._document, operation)

        @seed(start)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # a failure is told as it was found: to shrink it takes thousands of requests
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode), st.data())
        def example(case: AnyCase, data: st.DataObject) -> None:
            _make_likelier(case, data, fields)
            began = time.monotonic()
            answer = case.call(timeout=SECONDS)
            told = f"{case.as_curl_command()}\n{answer.status_code} {answer.content[:500]!r}"
            assert answer.status_code < 400 or answer.status_code in ACCEPTED | _remote(operation), told
            assert time.monotonic() - began < SECONDS, told
            assert b"Traceback" not in answer.content, told
            assert b"internal error" not in answer.content, told
            self.seen[operation.label, answer.status_code] += 1

        example()


def _remote(operation: Operation) -> set[int]:
    """A registry that cannot be reached is 500 in Ollama's API."""
    return {500} if operation.path in ("/api/pull", "/api/push", "/api/create") else set()


def _modes(fields: frozenset[str]) -> Iterator[GenerationMode]:
    """What is allowed; where there is anything to be wrong, what is not."""
    yield GenerationMode.POSITIVE
    if fields:
        yield GenerationMode.NEGATIVE


def _make_likelier(case: AnyCase, data: st.DataObject, fields: frozenset[str]) -> None:
    """Mostly a request that is right but for a few of its fields; with what is known in them, now and then."""
    if not isinstance(case.body, dict):
        return
    if data.draw(st.integers(0, 5)):
        case.headers.clear()  # one header that is wrong hides everything else
    if data.draw(st.integers(0, 5)):
        kept = data.draw(st.sets(st.sampled_from(sorted(case.body)), max_size=3)) if case.body else set()
        right = {name: value for name, value in RIGHT.items() if name in fields}
        if "content" in fields:  # /tokenize: one of three
            del right["messages"]
        case.body = {**right, **{name: case.body[name] for name in kept}}
    body: dict[str, Any] = case.body
    for name, likely in LIKELY.items():
        if name in body and data.draw(st.booleans()):
            body[name] = data.draw(likely)
    if data.draw(st.integers(0, 3)) == 0:
        body["options"] = data.draw(st.dictionaries(st.sampled_from(sorted(OPTIONS)), SCALARS, max_size=3))


def _fields(document: dict[str, Any], operation: Operation) -> frozenset[str]:
    """Names that its body may have."""
    described = document["paths"][operation.path][operation.method]
    content = described.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return frozenset()
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return frozenset(document["components"]["schemas"][name].get("properties", {}))


def fuzzed_server(models: Path) -> AbstractContextManager[str]:
    """Its context is short, and it reaches no other machine."""
    return server_process(models, PUNA_CONTEXT_LENGTH="128", HTTP_PROXY=NOWHERE, HTTPS_PROXY=NOWHERE)


def main() -> int:
    """The full number of examples on a server of its own."""
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else FULL
    start = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as models, fuzzed_server(Path(models)) as url:
        began = time.monotonic()
        fuzzer = Fuzzer(url)
        fuzzer.run(examples, start)
        for (operation, status), count in sorted(fuzzer.seen.items()):
            print(f"{operation:50} {status} {count:5}")
        print(f"{fuzzer.seen.total()} requests answered as they should in {time.monotonic() - began:.0f} s")
        for failure in fuzzer.failures:
            print(failure)
    return len(fuzzer.failures)


if __name__ == "__main__":
    sys.exit(main())
