"""Answers that are kept: bounded, each for its own client, listed in pages."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest

from puna.errors import InvalidRequest
from puna.server.errors import NotFoundError
from puna.server.openai.stored import Page, Stored, StoredAnswers

HI = [{"role": "user", "content": "hi"}]


def answer(name: str, size: int = 0) -> Stored:
    return Stored({"id": name, "metadata": {}, "text": "x" * size}, [])


def test_the_oldest_go_where_all_would_be_too_many_bytes() -> None:
    kept = StoredAnswers("answer", max_bytes=1100)
    for number in range(10):
        kept.put("me", answer(str(number), 200))
    assert [reply["id"] for reply in kept.replies("me")] == ["6", "7", "8", "9"]
    kept.set_metadata("me", "9", {"k": "v"})
    kept.put("me", answer("9", 10))
    for name in ("6", "7", "8", "9"):
        kept.delete("me", name)
    for number in range(4):  # what was deleted gave its bytes back
        kept.put("me", answer(str(number), 200))
    assert len(list(kept.replies("me"))) == 4


def test_one_clients_answers_are_not_there_for_another() -> None:
    kept = StoredAnswers("answer")
    kept.put("me", answer("a"))
    assert kept.get("me", "a").reply["id"] == "a"
    assert list(kept.replies("you")) == []
    for use in (kept.get, kept.delete):
        with pytest.raises(NotFoundError, match="no answer 'a'"):
            use("you", "a")


def test_pages_join_to_the_whole_in_either_order() -> None:
    entries = [{"id": str(number)} for number in range(7)]
    for order in ("asc", "desc"):
        seen: list[str] = []
        query = {"limit": "3", "order": order}
        while True:
            page: dict[str, Any] = Page.asked(query).of(entries)
            seen += [entry["id"] for entry in page["data"]]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
        assert seen == sorted("0123456", reverse=order == "desc")
    assert Page.asked({}).of([]) == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "²"}, {"order": "up"}])
def test_a_wrong_page_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        Page.asked(query)


@pytest.mark.parametrize("stream", [False, True])
def test_chat_completions_are_kept_where_asked_and_only_there(http: httpx.Client, stream: bool) -> None:
    path = "/v1/chat/completions"
    body = {"model": "cria", "messages": HI, "temperature": 0, "stream": stream}
    mark = {"mark": f"kept {stream}"}
    for extra in ({}, {"store": True, "metadata": mark}):
        http.post(path, json={**body, **extra}).raise_for_status()
    query = {"metadata[mark]": mark["mark"]}
    [kept] = http.get(path, params=query).json()["data"]
    whole = http.post(path, json={**body, "stream": False}).json()
    assert kept["choices"] == whole["choices"]
    assert http.get(f"{path}/{kept['id']}").json() == kept
    assert http.get(f"{path}/{kept['id']}/messages").json()["data"][0]["content"] == "hi"
    assert http.post(f"{path}/{kept['id']}", json={"metadata": {"mark": "b"}}).json()["metadata"] == {"mark": "b"}
    assert http.get(path, params=query).json()["data"] == []
    assert http.delete(f"{path}/{kept['id']}").json()["deleted"] is True
    assert http.get(f"{path}/{kept['id']}").json()["error"]["type"] == "not_found_error"


def test_the_official_client_reads_what_it_stored(url: str) -> None:
    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
            completions = client.chat.completions
            made = await completions.create(
                model="cria", messages=[{"role": "user", "content": "hi"}], store=True, metadata={"who": "async"}
            )
            assert (await completions.retrieve(made.id)).choices == made.choices
            assert [each.id async for each in completions.list(metadata={"who": "async"})] == [made.id]
            assert [each.content async for each in completions.messages.list(made.id)] == ["hi"]
            assert (await completions.update(made.id, metadata={"who": "b"})).to_dict()["metadata"] == {"who": "b"}
            assert (await completions.delete(made.id)).deleted
            with pytest.raises(openai.NotFoundError):
                await completions.retrieve(made.id)

    asyncio.run(run())
