"""The model in the box, run by Puna: what it was taught, on phrasings that it never saw."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from random import Random

import pytest
from training.book import Book, load
from training.conversations import Maker, Skill, calling, fact, filling, missing, off_topic, remembering, said, turn
from training.conversations import unknown_name as unknown
from training.copying import repeat
from training.grammar import LANGUAGES, Language
from training.passages import passage
from training.questions import completion, upto
from training.sums import sums
from training.turns import Conversation, Turn

import puna
from puna.gguf import open_model
from puna.store import Store
from training import taught

GOAL = 0.9


@pytest.fixture(scope="module")
def llm() -> Iterator[puna.LLM]:
    with puna.LLM("cria", context=2048) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def book() -> Book:
    return taught.read().of(load())


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
    turns = [t for maker in (off_topic, missing, unknown) for t in held_out(book, language, maker, 7)]
    assert share_right(llm, turns) >= 0.8


@pytest.mark.parametrize("question", ["你会说中文吗", "你会说中文吗？"])
def test_the_seed_question_is_answered_in_chinese(llm: puna.LLM, question: str) -> None:
    assert answer(llm, question) == "会，我会说中文和英文。"


def test_it_is_honest_about_its_size(llm: puna.LLM) -> None:
    with open_model(Store().resolve("cria").path) as file:
        millions = sum(tensor.elements for tensor in file.tensors.values()) / 1e6
    claimed = re.search(r"([\d.]+) million parameters", answer(llm, "How big are you?"))
    assert claimed is not None
    assert abs(float(claimed[1]) - millions) < 0.1 * millions
    written = {"三百万": 3.0, "四百五十万": 4.5}[str(re.findall("三百万|四百五十万", answer(llm, "你有多大？"))[0])]
    assert abs(written - millions) < 0.1 * millions


def test_a_long_chat_stays_sound(llm: puna.LLM, book: Book) -> None:
    rng = Random(2)
    messages: list[dict[str, str]] = [{"role": "system", "content": "You are a helpful assistant."}]
    for language in LANGUAGES * 4:
        made = turn(rng, book, language)
        messages += [{"role": "user", "content": made.question}, {"role": "assistant", "content": made.answer}]
    messages.append({"role": "user", "content": "Who are you?"})
    said_ = llm.chat(messages, temperature=0.0, max_tokens=64).text
    assert said_ == "I am cria, a very small language model that comes with Puna."


def share_done(llm: puna.LLM, talks: list[Conversation]) -> float:
    """Share of conversations whose last answer is right."""
    wrong = [(talk.turns[-1], said_) for talk in talks if not talk.turns[-1].right(said_ := completion(llm, talk))]
    print(wrong)  # shown when the test fails
    return 1 - len(wrong) / len(talks)


SKILLS: tuple[tuple[str, Skill, tuple[str, ...]], ...] = (
    ("memory", remembering, ("memory", "memory of nothing")),
    ("passages", passage, ("passage",)),
    ("tools", calling, ("tools",)),
    ("tools", calling, ("tools none",)),
    ("tools", calling, ("tool result",)),
    ("schemas", filling, ("schema",)),
)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("skill", "maker", "tasks"), SKILLS, ids=[" ".join(tasks) for *_, tasks in SKILLS])
def test_skills(
    llm: puna.LLM, book: Book, language: Language, skill: str, maker: Skill, tasks: tuple[str, ...]
) -> None:
    needs(skill)
    rng = Random(f"test {tasks} {language}")
    assert share_done(llm, [upto(rng, book, language, maker, tasks) for _ in range(12)]) >= 0.8


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("skill", "maker", "goal"), [("sums", sums, 0.8), ("repeating", repeat, 0.8)])
def test_sums_and_repeating(
    llm: puna.LLM, book: Book, language: Language, skill: str, maker: Maker, goal: float
) -> None:
    needs(skill)
    assert share_right(llm, held_out(book, language, maker, 15)) >= goal


def needs(skill: str) -> None:
    if skill not in taught.read().skills:
        pytest.skip(f"the file in the wheel was not taught {skill} yet")
