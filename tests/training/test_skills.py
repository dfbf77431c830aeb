"""The skills' generators: what is asked can be answered from what was said, and is rendered as by the template."""

from __future__ import annotations

import json
import re
from collections import Counter
from random import Random

import pytest
from training.book import Book, load
from training.conversations import SKILLS, Skill, calling, conversation, filling, hand_conversations, remembering
from training.grammar import LANGUAGES, bucket
from training.passages import passage
from training.sums import HELD_PAIRS, pair, sums
from training.template import CHAT_TEMPLATE
from training.turns import Conversation

from puna.chat import ChatTemplate, Message, ToolCall


@pytest.fixture(scope="module")
def book() -> Book:
    return load()


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate(CHAT_TEMPLATE)


def talks(book: Book, skill: Skill, count: int, held: bool = False) -> list[Conversation]:
    rng = Random(f"test {skill.__name__} {held}")
    return [skill(rng, book, LANGUAGES[i % 2], held) for i in range(count)]


def messages(talk: Conversation) -> list[Message]:
    return [
        Message(
            m["role"],
            m["content"],
            tool_calls=tuple(
                ToolCall(None, c["function"]["name"], c["function"]["arguments"]) for c in m.get("tool_calls", [])
            ),
        )
        for m in talk.messages()
    ]


def test_the_template_offers_tools_and_system_prompts(template: ChatTemplate) -> None:
    assert template.supports_tools
    assert template.supports_system


def test_training_text_is_what_the_template_renders(book: Book, template: ChatTemplate) -> None:
    rng = Random(4)
    for _ in range(200):
        talk = conversation(rng, book)
        rendered = template.render(messages(talk), tools=talk.offered(), add_generation_prompt=False)
        assert rendered == "".join(talk.pieces())
        asked = template.render(messages(talk)[:-1], tools=talk.offered())
        assert asked == talk.prompt()


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.__name__)
def test_every_answer_is_judged_right_and_no_slot_is_left(book: Book, skill: Skill, held: bool) -> None:
    for talk in talks(book, skill, 120, held):
        for turn in talk.turns:
            assert turn.right(turn.said()), turn
            assert not re.search(r"\{[a-z0-9]\}|\{\w+:\w+\}", turn.asked() + turn.said()), turn


def test_calls_are_of_tools_that_are_offered_with_arguments_that_the_schema_knows(book: Book) -> None:
    for talk in talks(book, calling, 200):
        offered = {tool["name"]: tool["parameters"]["properties"] for tool in talk.tools}
        for call in (call for turn in talk.turns for call in turn.calls):
            assert call.arguments.keys() <= offered[call.name].keys(), call


def test_values_of_calls_stand_in_the_question(book: Book) -> None:
    for talk in talks(book, calling, 200):
        for turn in (turn for turn in talk.turns if turn.task == "tools"):
            values = [v for call in turn.calls for v in call.arguments.values() if isinstance(v, str)]
            enums = json.dumps(talk.tools)
            assert all(v.lower() in turn.question.lower() or f'"{v}"' in enums for v in values), turn


def test_a_list_of_tools_has_no_two_of_one_name(book: Book) -> None:
    for talk in talks(book, calling, 200):
        assert max(Counter(tool["name"] for tool in talk.tools).values()) == 1


def test_many_tools_are_offered_now_and_then(book: Book) -> None:
    counts = [len(talk.tools) for talk in talks(book, calling, 300)]
    assert max(counts) > 20
    assert sum(count <= 4 for count in counts) > 0.9 * len(counts)


def test_passages_answer_with_a_sentence_of_the_text(book: Book) -> None:
    for talk in talks(book, passage, 200):
        text = (talk.system or "") + "".join(turn.question for turn in talk.turns)
        for turn in (turn for turn in talk.turns if turn.task == "passage"):
            assert turn.answer in (*book.passages.missing.values(),) or turn.answer in text, turn


def test_what_is_asked_of_memory_was_told_before(book: Book) -> None:
    for talk in talks(book, remembering, 200):
        for i, turn in enumerate(talk.turns):
            if turn.task == "memory":
                told = turn.accepted[0].removeprefix("You said: ").removeprefix("你说：").casefold()
                assert any(told in before.question.casefold() for before in talk.turns[:i]), talk


def test_json_answers_are_json_and_what_a_grammar_writes_is_not_taught(book: Book) -> None:
    for talk in talks(book, filling, 200):
        turn = talk.turns[-1]
        assert isinstance(json.loads(turn.answer), dict)
        taught = "".join(turn.said()[a:b] for a, b in turn.taught())
        assert bool(turn.forced) != (taught == turn.said())


def test_pairs_of_numbers_are_held_out_in_either_order(book: Book) -> None:
    rng = Random(9)
    for held in (False, True):
        for _ in range(300):
            a, b = pair(rng, "+", held)
            assert (bucket(f"{min(a, b)}+{max(a, b)}", HELD_PAIRS) == 0) == held
    assert sums(rng, book, "en", True).answer.endswith(".")


def test_hand_typed_conversations_are_well_formed_and_never_generated(book: Book) -> None:
    typed = hand_conversations()
    assert len(typed) >= 100
    for talk in typed:
        assert talk.turns[-1].right(talk.turns[-1].said()), talk
    prompts = {talk.prompt() for talk in typed}
    rng = Random(6)
    assert not prompts & {conversation(rng, book).prompt() for _ in range(2000)}
