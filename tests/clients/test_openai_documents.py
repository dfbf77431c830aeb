"""The official `openai` package with files, vector stores and the tool file_search, as its users call it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.clients.test_openai import options
from tests.server.process import server_process

CATS = b"# Cats\n\nThe cat sleeps on the sofa.\n\n# Food\n\nIt eats fish every evening.\n"
CHINESE = "向量数据库支持全文检索。".encode()


@pytest.fixture(scope="module")
def documents_url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a folder of its own: what other tests store is not there."""
    with server_process(models, data=tmp_path_factory.mktemp("data")) as url:
        yield url


@pytest.fixture
def client(documents_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(**options(documents_url)) as client:
        yield client


@pytest.fixture(scope="module")
def store(documents_url: str) -> str:
    """A vector store of two files, ready to be searched."""
    with openai.OpenAI(**options(documents_url)) as client:
        made = client.vector_stores.create(name="pets", metadata={"of": "tests"})
        for name, data, year in (("cats.md", CATS, 2020), ("数据库.txt", CHINESE, 2026)):
            file = client.files.create(file=(name, data), purpose="assistants")
            client.vector_stores.files.create(made.id, file_id=file.id, attributes={"year": year})
            ready = client.vector_stores.files.poll(file.id, vector_store_id=made.id, poll_interval_ms=50)
            assert ready.status == "completed", ready.last_error
        return made.id


def test_files_are_kept_listed_read_and_removed(client: openai.OpenAI) -> None:
    made = client.files.create(file=("../../etc/notes\x1b[2J.txt", b"text"), purpose="user_data")
    assert (made.filename, made.bytes, made.purpose) == ("notes[2J.txt", 4, "user_data")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == b"text"
    assert [each.id for each in client.files.list(purpose="user_data")] == [made.id]
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_a_vector_store_is_made_changed_listed_and_removed(client: openai.OpenAI) -> None:
    made = client.vector_stores.create(name="one", expires_after={"anchor": "last_active_at", "days": 2})
    assert made.status == "completed"
    assert made.expires_at == (made.last_active_at or 0) + 2 * 86400
    changed = client.vector_stores.update(made.id, name="two", metadata={"k": "v"})
    assert (changed.name, changed.metadata, changed.expires_at) == ("two", {"k": "v"}, made.expires_at)
    assert made.id in [each.id for each in client.vector_stores.list(limit=1)]  # page by page
    assert client.vector_stores.retrieve(made.id).name == "two"
    assert client.vector_stores.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.retrieve(made.id)


def test_what_a_file_says_is_found_with_its_attributes(client: openai.OpenAI, store: str) -> None:
    [first, *_] = client.vector_stores.search(store, query="The cat sleeps on the sofa.")
    assert first.content[0].text == "The cat sleeps on the sofa."
    assert (first.filename, first.attributes) == ("cats.md", {"year": 2020})
    assert 0 < first.score <= 1
    [chinese] = client.vector_stores.search(store, query="数据", max_num_results=1)
    assert chinese.content[0].text == CHINESE.decode()
    newer = client.vector_stores.search(store, query="cat", filters={"type": "gte", "key": "year", "value": 2026})
    assert {each.filename for each in newer} == {"数据库.txt"}
    high = client.vector_stores.search(store, query="zzz", ranking_options={"ranker": "none", "score_threshold": 1})
    assert list(high) == []


def test_files_of_a_vector_store_and_their_attributes(client: openai.OpenAI, store: str) -> None:
    files = list(client.vector_stores.files.list(store, filter="completed", order="asc"))
    assert [each.attributes for each in files] == [{"year": 2020}, {"year": 2026}]
    content = client.vector_stores.files.content(files[0].id, vector_store_id=store)
    assert [each.text for each in content] == ["The cat sleeps on the sofa.", "It eats fish every evening."]
    changed = client.vector_stores.files.update(
        files[0].id, vector_store_id=store, attributes={"year": 2020, "x": True}
    )
    assert changed.attributes == {"year": 2020, "x": True}
    back = client.vector_stores.files.update(files[0].id, vector_store_id=store, attributes={"year": 2020})
    assert back.status == "completed"


def test_a_batch_of_files_with_one_that_cannot_be_read(client: openai.OpenAI) -> None:
    made = client.vector_stores.create(name="batch")
    streams = [("a.txt", io.BytesIO(b"alpha")), ("b.bin", io.BytesIO(b"\0\0\0"))]
    batch = client.vector_stores.file_batches.upload_and_poll(made.id, files=streams, poll_interval_ms=50)
    assert (batch.file_counts.completed, batch.file_counts.failed, batch.file_counts.total) == (1, 1, 2)
    [failed] = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=made.id, filter="failed")
    assert failed.last_error is not None
    assert failed.last_error.code == "invalid_file"
    assert "b.bin is not text" in failed.last_error.message
    client.vector_stores.files.delete(failed.id, vector_store_id=made.id)
    assert client.vector_stores.retrieve(made.id).file_counts.total == 1
    client.files.delete(next(iter(client.vector_stores.files.list(made.id))).id)  # from vector stores too
    assert client.vector_stores.retrieve(made.id).file_counts.total == 0


def test_responses_search_before_they_answer(client: openai.OpenAI, store: str) -> None:
    answer = client.responses.create(
        model="cria",
        input="What does the cat eat every evening?",
        tools=[{"type": "file_search", "vector_store_ids": [store], "max_num_results": 2}],
        include=["file_search_call.results"],
        max_output_tokens=30,
    )
    search, message = answer.output[0], answer.output[-1]
    assert search.type == "file_search_call"
    assert search.queries == ["What does the cat eat every evening?"]
    assert search.results is not None
    assert search.results[0].text == "It eats fish every evening."
    assert message.type == "message"
    assert answer.usage is not None
    assert answer.usage.input_tokens > 40  # the passages are in the prompt
    after = client.responses.create(model="cria", input="thanks", previous_response_id=answer.id, max_output_tokens=5)
    assert after.status in ("completed", "incomplete")


def test_a_streamed_response_tells_of_the_search(client: openai.OpenAI, store: str) -> None:
    with client.responses.stream(
        model="cria", input="cat", tools=[{"type": "file_search", "vector_store_ids": [store]}], max_output_tokens=20
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    searched = [kind for kind in kinds if kind.startswith("response.file_search_call")]
    assert searched == [f"response.file_search_call.{step}" for step in ("in_progress", "searching", "completed")]
    assert kinds.index("response.file_search_call.completed") < kinds.index("response.output_text.delta")
    assert final.output[0].type == "file_search_call"
    assert final.output[0].results is None  # not asked for


def test_chat_searches_too_and_names_its_sources(documents_url: str, store: str) -> None:
    body = {
        "model": "cria",
        "messages": [{"role": "user", "content": "It eats fish every evening."}],
        "tools": [{"type": "file_search", "vector_store_ids": [store], "max_num_results": 1}],
        "max_tokens": 20,
    }
    answer = httpx.post(f"{documents_url}/v1/chat/completions", json=body, timeout=60).json()
    [source] = answer["puna"]["sources"]
    assert (source["number"], source["filename"], source["place"]) == (1, "cats.md", "line 7")
    assert answer["puna"]["warnings"] == []
    shown = httpx.post(
        f"{documents_url}/v1/chat/completions", json={**body, "_debug_render_only": True}, timeout=60
    ).json()
    prompt = shown["_debug_info"]["rendered_template"]
    assert "[1] cats.md, Food, line 7\nIt eats fish every evening." in prompt
    assert prompt.index("[1]") < prompt.index("Question: It eats fish every evening.")


@pytest.mark.parametrize("stream", [False, True])
def test_ollamas_chat_has_the_tool_too(documents_url: str, store: str, stream: bool) -> None:
    body = {
        "model": "cria",
        "messages": [{"role": "user", "content": "It eats fish every evening."}],
        "tools": [{"type": "file_search", "vector_store_ids": [store], "max_num_results": 1}],
        "options": {"num_predict": 20},
        "stream": stream,
    }
    lines = httpx.post(f"{documents_url}/api/chat", json=body, timeout=60).text.splitlines()
    answer = json.loads(lines[-1])
    assert [(each["number"], each["filename"]) for each in answer["sources"]] == [(1, "cats.md")]
    assert "warnings" not in answer
    refused = httpx.post(f"{documents_url}/api/chat", json={**body, "tools": [{"type": "file_search"}]}, timeout=60)
    assert (refused.status_code, "needs 1 to 8 vector_store_ids" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"query": ""}, "query is required"),
        ({"query": "x", "max_num_results": 51}, "between 1 and 50"),
        ({"query": "x", "filters": {"type": "bogus", "key": "a", "value": 1}}, "there is no comparison 'bogus'"),
        ({"query": "x", "ranking_options": {"ranker": "magic"}}, "ranker"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(
    client: openai.OpenAI, store: str, body: dict[str, object], why: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=why):
        client.post(f"/vector_stores/{store}/search", body=body, cast_to=object)


def test_what_is_wrong_with_a_form_or_a_tool_is_told(client: openai.OpenAI, store: str, documents_url: str) -> None:
    with pytest.raises(openai.BadRequestError, match="purpose must be one of"):
        client.files.create(file=("a.txt", b"x"), purpose="vision")
    with pytest.raises(openai.BadRequestError, match="is empty"):
        client.files.create(file=("a.txt", b""), purpose="assistants")
    assert httpx.post(f"{documents_url}/v1/files", json={"file": "x"}).status_code == 400
    nowhere: list[list[str]] = [[], ["vs_none"]]
    for ids in nowhere:
        with pytest.raises(openai.APIStatusError) as caught:
            client.responses.create(model="cria", input="x", tools=[{"type": "file_search", "vector_store_ids": ids}])
        assert caught.value.status_code in (400, 404)
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100_000, "chunk_overlap_tokens": 0}}
    file = client.files.create(file=("a.txt", b"x"), purpose="assistants")
    with pytest.raises(openai.BadRequestError, match="do not fit the embedding model"):
        client.vector_stores.files.create(store, file_id=file.id, chunking_strategy=static)  # type: ignore[arg-type]
    client.files.delete(file.id)


def test_what_a_server_left_undone_the_next_one_does(models: Path, tmp_path: Path) -> None:
    """The server ends while it indexes; nothing is half, and the rest is done once collections are used again."""
    text = "\n\n".join(f"Paragraph {index} about numbers and words. " * 8 for index in range(60)).encode()
    with server_process(models, data=tmp_path) as url, openai.OpenAI(**options(url)) as client:
        made = client.vector_stores.create(name="many")
        ids = [client.files.create(file=(f"{n}.txt", text), purpose="assistants").id for n in range(6)]
        client.vector_stores.file_batches.create(made.id, file_ids=ids)
    with server_process(models, data=tmp_path) as url, openai.OpenAI(**options(url)) as client:
        end = time.monotonic() + 120
        while (counts := client.vector_stores.retrieve(made.id).file_counts).in_progress:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert (counts.completed, counts.total) == (6, 6)
        assert client.vector_stores.search(made.id, query="Paragraph 3").data
