"""Chats with cria: answers, branches, stopping, what is kept, found, exported, and shown about an answer."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from playwright.sync_api import Page, Request, expect

from tests.server.test_failures import loaded, wait_until
from tests.server.variant import THINKER, TOOLS, served_variant
from tests.web.chat import (
    answers,
    ask,
    finished,
    import_conversation,
    import_file,
    kept,
    ready,
    sent,
    start_endless,
    text_of,
)


def test_a_question_is_answered_with_its_usage_and_speed(page: Page) -> None:
    ask(page, "Do you speak Chinese?")
    answer = finished(page)
    assert text_of(answer)
    assert "tokens/s" in answer.locator(".usage summary").inner_text()
    answer.locator(".usage summary").click()
    told = answer.locator(".usage dl").inner_text()
    assert all(word in told for word in ("Prompt", "Computed", "Context", "Whole request"))
    expect(page).to_have_title("Do you speak Chinese? · Puna")


def test_what_came_from_the_cache_is_shown(page: Page) -> None:
    for count, question in enumerate(["What is Puna?", "Who are you?", "What can you do?"], 1):
        ask(page, question)
        finished(page, count)
    assert "cached" in answers(page).last.locator(".usage summary").inner_text()


def test_an_answer_stops_on_the_server_too_and_keeps_what_it_has(page: Page, http: httpx.Client) -> None:
    start_endless(page)
    page.keyboard.press("Escape")
    answer = finished(page)
    assert text_of(answer)
    expect(answer.locator(".failure")).to_have_text("Stopped.")
    assert wait_until(lambda: loaded(http)["open_requests"] == 0, 1)  # long before the grace of a lost client ends


def test_a_reload_in_mid_answer_takes_it_up_and_nothing_is_generated_twice(page: Page, http: httpx.Client) -> None:
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "/api/chat" in request.url else None)
    start_endless(page)
    page.wait_for_timeout(400)  # until something of it was saved
    page.reload()
    ready(page)
    finished(page)
    first, second = asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert "?after=" in second.url
    whole = httpx.post(
        first.url, content=first.post_data, headers={"idempotency-key": first.headers["idempotency-key"]}
    )
    assert whole.headers["idempotent-replayed"] == "true"
    lines = [json.loads(line) for line in whole.text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == kept(page)[-1]["content"]
    assert loaded(http)["open_requests"] == 0


def test_a_connection_that_breaks_is_taken_up(page: Page) -> None:
    page.route("**/api/chat", lambda route: route.abort(), times=1)
    ask(page, "What is Puna?")
    assert text_of(finished(page))


def test_regenerating_and_editing_make_branches_and_lose_nothing(page: Page) -> None:
    ask(page, "What is Puna?")
    first = text_of(finished(page))
    page.locator(".answer").get_by_role("button", name="Regenerate").click()
    expect(page.locator(".answer .branches")).to_contain_text("2/2")
    finished(page)
    page.locator(".question").hover()
    page.locator(".question").get_by_role("button", name="Edit").click()
    page.locator(".editing textarea").fill("Who are you?")
    page.keyboard.press("Enter")
    expect(page.locator(".question .branches")).to_contain_text("2/2")
    finished(page)
    page.locator(".question").get_by_role("button", name="Earlier branch").click()
    expect(page.locator(".question .bubble")).to_have_text("What is Puna?")
    page.locator(".answer").get_by_role("button", name="Earlier branch").click()
    expect(page.locator(".answer .branches")).to_contain_text("1/2")
    assert text_of(answers(page).last) == first


def test_conversations_are_kept_searched_renamed_and_deleted(page: Page) -> None:
    for question in ("What is Puna?", "Who are you?"):
        page.locator("#new-chat").click()
        ask(page, question)
        finished(page)
    page.reload()
    ready(page)
    entries = page.locator("#conversations li")
    expect(entries).to_have_count(2)
    expect(page.locator(".question .bubble")).to_have_text("Who are you?")  # the address says which one is open
    page.keyboard.press("Control+k")
    page.keyboard.type("puna what")
    expect(entries).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".question .bubble")).to_have_text("What is Puna?")
    page.locator("#conversation-menu").click()
    page.keyboard.press("Enter")  # its first entry: rename
    page.keyboard.type("My first")
    page.keyboard.press("Enter")
    expect(entries.locator("a")).to_have_text("My first")
    page.locator("#conversation-menu").click()
    page.keyboard.press("ArrowUp")  # its last: delete
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.locator("#search").fill("")
    expect(entries).to_have_count(1)


def test_a_conversation_that_is_exported_can_be_imported_again(page: Page) -> None:
    ask(page, "What is Puna?")
    text = text_of(finished(page))
    page.locator("#conversation-menu").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Export as JSON").click()
    content = download.value.path().read_bytes()
    import_file(page, content)
    expect(page.locator("#conversations li")).to_have_count(2)
    assert text_of(answers(page).last) == text


def test_a_file_of_something_else_is_refused_in_words(page: Page) -> None:
    for content in (
        b"\x00",
        b"{}",
        b'{"format": "puna-conversations", "conversations": [{"messages": [{"role": 7}]}]}',
    ):
        page.locator("#open-preferences").click()
        with page.expect_file_chooser() as chosen:
            page.get_by_role("button", name="Import conversations").click()
        chosen.value.set_files({"name": "odd.json", "mimeType": "application/json", "buffer": content})
        expect(page.locator("dialog .notice.problem")).to_contain_text("odd.json holds no conversations")
        page.keyboard.press("Escape")
    expect(page.locator("#conversations li")).to_have_count(0)


def test_the_system_prompt_and_parameters_of_a_conversation_are_sent(page: Page) -> None:
    page.locator("#open-settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.25")
    page.get_by_label("Longest answer").fill("5")
    page.get_by_label("Stop strings").fill("### | END")
    page.get_by_label("When the context is full").select_option("2")
    page.keyboard.press("Escape")
    with page.expect_request("**/api/chat") as asked:
        ask(page, "What is Puna?")
    body = sent(asked.value)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["options"] == {"temperature": 0.25, "num_predict": 5, "stop": ["###", "END"]}
    assert body["puna"] == {"history": 2}
    expect(finished(page).locator(".note")).to_contain_text("limit")
    page.locator("#new-chat").click()
    page.locator("#open-settings").click()
    expect(page.get_by_label("System prompt")).to_have_value("")  # it belongs to that conversation


def test_what_did_not_fit_the_context_is_told(page: Page) -> None:
    rounds = [
        {"role": role, "content": "a long story about a llama on the plateau " * 12}
        for _ in range(12)
        for role in ("user", "assistant")
    ]
    import_conversation(page, *rounds)
    ask(page, "Who are you?")
    expect(answers(page).last.locator(".note")).to_contain_text("Earlier messages left out")


def test_thoughts_are_folded_while_they_come_and_after(page: Page, http: httpx.Client, tmp_path: Path) -> None:
    with served_variant(http, tmp_path / "thinker.gguf", THINKER) as model:
        import_conversation(page, model=model, options={"temperature": 0, "num_predict": 40, "thinking_budget": 6})
        expect(page.get_by_role("button", name="Think first")).to_be_visible()
        ask(page, "hi")
        answer = finished(page)
        expect(answer.locator(".thinking summary")).to_have_text("Thoughts")
        expect(answer.locator(".thinking > .markdown")).to_be_hidden()
        answer.locator(".thinking summary").click()
        expect(answer.locator(".thinking > .markdown")).to_be_visible()
        expect(answer.locator(".note")).to_contain_text(["The thought was ended at its limit."])
        page.get_by_role("button", name="Think first").click()
        page.get_by_role("button", name="Think first").click()
        with page.expect_request("**/api/chat") as asked:
            ask(page, "hi")
        assert sent(asked.value)["think"] is False
        finished(page, 2)


def test_tool_calls_are_shown_and_their_results_are_given(page: Page) -> None:
    call = {"id": "c1", "function": {"name": "add", "arguments": {"a": 1, "b": "x"}}}
    import_conversation(
        page,
        {"role": "user", "content": "add 1 and x"},
        {"role": "assistant", "thinking": "I **must** add.", "calls": [call]},
        tools=json.dumps(TOOLS),
    )
    expect(page.locator(".call pre")).to_contain_text('"a": 1')
    page.get_by_label("Result of add").fill("1x")
    with page.expect_request("**/api/chat") as asked:
        page.get_by_role("button", name="Give the results").click()
    body = sent(asked.value)
    assert body["messages"][-2]["tool_calls"] == [call]
    assert body["messages"][-1] == {"role": "tool", "content": "1x", "tool_name": "add", "tool_call_id": "c1"}
    assert body["tools"] == TOOLS
    finished(page)
    expect(page.locator(".result")).to_contain_text("Result of add")


def test_pictures_are_refused_in_words_where_the_model_cannot_see(page: Page) -> None:
    page.evaluate(
        """() => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(8)], "cat.png", { type: "image/png" }));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.locator(".notice.problem")).to_have_text("cria cannot see images: choose a model that can.")
    expect(page.locator(".thumbnails img")).to_have_count(0)


def test_a_server_that_fails_is_told_and_the_question_can_be_asked_again(page: Page) -> None:
    failure = {"status": 500, "body": '{"error": "the runner was ended by SIGKILL"}'}
    page.route("**/api/chat", lambda route: route.fulfill(**failure), times=1)
    ask(page, "What is Puna?")
    expect(page.locator(".failure.failed")).to_contain_text("SIGKILL")
    page.locator(".answer").get_by_role("button", name="Regenerate").click()
    assert text_of(finished(page))
