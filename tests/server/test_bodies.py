"""No body, whatever it holds, is the server's fault."""

import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from puna.server.ollama_requests import ChatBody as OllamaChatBody
from puna.server.ollama_requests import GenerateBody
from puna.server.openai.chat_requests import ChatBody as OpenAIChatBody
from puna.server.openai.completion_requests import CompletionBody
from puna.server.openai.embeddings import EmbeddingsBody
from puna.server.openai.response_requests import ResponseBody

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "images", "name"]), JSON | st.just("user")),
    max_size=2,
)
OPTIONS = st.dictionaries(st.sampled_from(["num_ctx", "stop", "seed", "logit_bias", "temperature", "x"]), JSON)


def bodies(fields: list[str]) -> st.SearchStrategy[dict[str, object]]:
    names = st.sampled_from([name for name in fields if name not in ("model", "messages", "options")])
    return st.builds(
        lambda rest, messages, options: {**rest, "messages": messages, "options": options, "model": "nope"},
        st.dictionaries(names, JSON, max_size=4),
        MESSAGES | JSON,
        OPTIONS | JSON,
    )


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/chat", [*OllamaChatBody.model_fields, "_debug_render_only"]),
        ("/api/generate", [*GenerateBody.model_fields, "name"]),
        ("/v1/chat/completions", list(OpenAIChatBody.model_fields)),
        ("/v1/completions", list(CompletionBody.model_fields)),
        ("/v1/responses", list(ResponseBody.model_fields)),
        ("/v1/embeddings", list(EmbeddingsBody.model_fields)),
    ],
)
def test_a_body_is_refused_not_crashed_on(http: httpx.Client, path: str, fields: list[str]) -> None:
    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(bodies(fields))
    def check(body: dict[str, object]) -> None:
        response = http.post(path, content=json.dumps(body))
        assert response.status_code in (400, 404), response.text
        assert "internal error" not in response.text

    check()


@given(st.binary(max_size=40))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_not_json_are_refused(http: httpx.Client, data: bytes) -> None:
    assert http.post("/api/chat", content=data).status_code == 400


@pytest.mark.parametrize("depth", [150, 250, 500, 900, 950, 990, 5000])
def test_a_deeply_nested_body_is_refused_before_anything_recurses_into_it(http: httpx.Client, depth: int) -> None:
    schema = '{"a":' * depth + "1" + "}" * depth
    tools = f'[{{"type":"function","name":"f","parameters":{schema}}}]'
    body = f'{{"model":"cria","input":"hi","max_output_tokens":1,"tools":{tools},"metadata":null}}'
    assert http.post("/v1/responses", content=body).status_code == (200 if depth == 150 else 400)
