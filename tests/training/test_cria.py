"""The model in the box, run by Puna: what it was made for, on phrasings that it never saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from random import Random

import pytest
from training.book import LANGUAGES, Book, Language, load
from training.conversations import Maker, Turn, fact, missing, off_topic, said, turn, unknown_name

import puna

GOAL = 0.9


@pytest.fixture(scope="module")
def llm() -> Iterator[puna.LLM]:
    with puna.LLM("cria", context=512) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def book() -> Book:
    return load()


def answer(llm: puna.LLM, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    return llm.chat(messages, temperature=0.0, max_tokens=64).text


def share_right(llm: puna.LLM, turns: list[Turn]) -> float:
    right, wrong = 0, defaultdict(list)
    for made in turns:
        said_ = answer(llm, made.question)
        right += made.right(said_)
        if not made.right(said_):
            wrong[made.task].append((made.question, said_))
    print(dict(wrong))  # shown when the test fails
    return right / len(turns)


def held_out(book: Book, language: Language, maker: Maker, count: int) -> list[Turn]:
    rng = Random(f"test {language}")
    return [turn(rng, book, language, True, maker) for _ in range(count)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_greetings_and_who_it_is(llm: puna.LLM, book: Book, language: Language) -> None:
    rng = Random(f"test {language}")
    about_itself = [i for i in book.smalltalk if i.group in ("greeting", "identity", "size", "languages")]
    turns = [said(rng, book, intent, language, True) for intent in about_itself for _ in range(3)]
    assert share_right(llm, turns) >= GOAL


@pytest.mark.parametrize("language", LANGUAGES)
def test_commands_and_variables(llm: puna.LLM, book: Book, language: Language) -> None:
    assert share_right(llm, held_out(book, language, fact, 40)) >= GOAL


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_says_what_it_does_not_know_and_what_does_not_exist(llm: puna.LLM, book: Book, language: Language) -> None:
    turns = [t for maker in (off_topic, missing, unknown_name) for t in held_out(book, language, maker, 7)]
    assert share_right(llm, turns) >= 0.8


@pytest.mark.parametrize("question", ["你会说中文吗", "你会说中文吗？"])
def test_the_seed_question_is_answered_in_chinese(llm: puna.LLM, question: str) -> None:
    assert answer(llm, question) == "会，我会说中文和英文。"


def test_it_is_honest_about_its_size(llm: puna.LLM) -> None:
    assert "3 million parameters" in answer(llm, "How big are you?")
    assert "三百万个参数" in answer(llm, "你有多大？")


def test_a_long_chat_stays_sound(llm: puna.LLM, book: Book) -> None:
    rng = Random(2)
    messages: list[dict[str, str]] = [{"role": "system", "content": "You are a helpful assistant."}]
    for language in LANGUAGES * 4:
        made = turn(rng, book, language)
        messages += [{"role": "user", "content": made.question}, {"role": "assistant", "content": made.answer}]
    messages.append({"role": "user", "content": "Who are you?"})
    said_ = llm.chat(messages, temperature=0.0, max_tokens=64).text
    assert said_ == "I am cria, a very small language model that comes with Puna."
