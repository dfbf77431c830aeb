"""What cria is taught about Puna is what Puna is: verbs, options, chat commands, variables, Python names."""

from __future__ import annotations

import re

import pytest
from training.book import Book, load

import puna
from puna import paths
from puna.cli import commands
from puna.cli.app import app


@pytest.fixture(scope="module")
def book() -> Book:
    return load()


def names(book: Book, *kinds: str) -> set[str]:
    return {fact.name for fact in book.facts if fact.kind in kinds}


def verbs() -> set[str]:
    groups = {str(group.name) for group in app.registered_groups}
    return groups | {str(command.name) for command in app.registered_commands if not command.hidden}


def test_every_variable_is_taught_and_no_other(book: Book) -> None:
    assert names(book, "variable") == {variable.names[0] for variable in paths.VARIABLES}


def test_every_verb_is_taught_and_no_other(book: Book) -> None:
    taught = {name.split()[1] for name in names(book, "command", "option") if name != "puna --help"}
    assert taught == verbs()


def test_every_chat_command_is_taught_and_no_other(book: Book) -> None:
    taught = {name.split()[0].lstrip("/") for name in names(book, "chat")}
    assert taught == {command.name for command in commands.COMMANDS} - {"?"} | {"bye"}


def test_options_and_arguments_exist(book: Book) -> None:
    from typer.main import get_command

    verbs = getattr(get_command(app), "commands")  # noqa: B009  # click's group, which typer leaves untyped
    for name in names(book, "command", "option") - {"puna --help"}:
        command = verbs[name.split()[1]]
        command = getattr(command, "commands", {}).get(name.split()[-2], command)  # "puna keys create NAME"
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", name)) <= known, name


def test_python_names_exist(book: Book) -> None:
    for name in names(book, "python"):
        assert hasattr(puna, name.removeprefix("puna.")), name


def test_what_is_said_to_be_missing_does_not_exist(book: Book) -> None:
    asked = {name for fact in book.missing for name in fact.asked["en"]}
    assert not {name.removeprefix("puna ") for name in asked} & verbs()
    assert not {name for name in asked if name.startswith("PUNA_")}


def test_no_name_is_asked_for_under_two_facts(book: Book) -> None:
    asked = [name for fact in (*book.facts, *book.missing) for name in fact.asked["en"]]
    assert len(asked) == len(set(asked))
