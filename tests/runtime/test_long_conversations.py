"""Conversations of 300 rounds with tools on a small context: what is kept, what goes, and what is said of it."""

from __future__ import annotations

from dataclasses import asdict
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from puna.runtime import ChatRequest, Options, Runtime
from tests.runtime.rounds import ROUNDS, TOOLS, check, conversation
from tests.server.variant import THINKER, cria_with_template


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(cria_with_template(tmp_path_factory.mktemp("long") / "thinker.gguf", THINKER))


@given(
    seed=st.integers(0, 2**32),
    context=st.integers(500, 2048),
    system=st.booleans(),
    named=st.booleans(),
    tools=st.booleans(),
)
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_the_system_message_and_the_newest_rounds_stay_and_the_report_is_exact(
    runtime: Runtime, thinker: str, seed: int, context: int, system: bool, named: bool, tools: bool
) -> None:
    messages = conversation(Random(seed), system=system, named=named)
    request = ChatRequest(
        thinker, tuple(messages), Options(context_length=context), tools=TOOLS if tools else (), think=False
    )
    prompt = runtime.prompt(request)
    assert prompt.tools == request.tools
    assert prompt.context.limit == context
    assert prompt.context.prompt_tokens == len(prompt.token_ids)
    model = runtime.text_model(thinker)
    check(model, messages, request.tools, prompt.text, asdict(prompt.context), think=False)


def test_the_template_of_cria_itself_keeps_pairs_too(runtime: Runtime) -> None:
    messages = conversation(Random(1), system=True, named=True)
    prompt = runtime.prompt(ChatRequest("cria", tuple(messages), Options(context_length=600), tools=TOOLS))
    assert prompt.context.dropped_messages > 0
    assert f"(Q{ROUNDS})" in prompt.text
    for number in range(ROUNDS):
        assert ("(R" + f"{number}." in prompt.text) <= (f"(Q{number})" in prompt.text)
