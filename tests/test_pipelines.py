"""The shapes of transformers 5's text-generation pipeline, read from its `TextGenerationPipeline.postprocess`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from puna import LLM, pipeline
from puna.errors import InvalidRequest
from puna.pipelines import TextGenerationPipeline

CHAT = [{"role": "user", "content": "你会说中文吗"}]
OTHER = [{"role": "system", "content": "You are cria."}, {"role": "user", "content": "hello"}]
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 20}


@pytest.fixture(scope="module")
def generator() -> Iterator[TextGenerationPipeline]:
    with pipeline("text-generation", model="cria", threads=1) as made:
        yield made


def test_a_text_gives_one_record_with_the_prompt_in_front(generator: TextGenerationPipeline) -> None:
    [record] = generator("hello", **GREEDY)
    assert list(record) == ["generated_text"]
    assert record["generated_text"].startswith("hello")
    assert len(record["generated_text"]) > len("hello")


def test_return_full_text_false_gives_the_new_text_alone(generator: TextGenerationPipeline) -> None:
    [full], [new] = (generator("hello", return_full_text=full, **GREEDY) for full in (True, False))
    assert full["generated_text"] == "hello" + new["generated_text"]
    [message] = generator(CHAT, return_full_text=False, **GREEDY)
    assert "中文" in message["generated_text"]


def test_a_list_of_texts_gives_a_list_of_lists(generator: TextGenerationPipeline) -> None:
    batch = generator(["hello", "who"], **GREEDY)
    assert batch == [generator("hello", **GREEDY), generator("who", **GREEDY)]


def test_messages_give_the_messages_with_the_assistant_s_appended(generator: TextGenerationPipeline) -> None:
    [record] = generator(CHAT, **GREEDY)
    *asked, answer = record["generated_text"]
    assert asked == CHAT
    assert list(answer) == ["role", "content"]
    assert answer["role"] == "assistant"
    assert "中文" in answer["content"]
    assert len(CHAT) == 1, "the caller's list stays as it was"


def test_conversations_give_a_list_of_lists(generator: TextGenerationPipeline) -> None:
    batch = generator([CHAT, OTHER], **GREEDY)
    assert batch == [generator(CHAT, **GREEDY), generator(OTHER, **GREEDY)]


def test_the_answer_can_be_fed_back_as_the_next_conversation(generator: TextGenerationPipeline) -> None:
    [record] = generator(CHAT, **GREEDY)
    [again] = generator([*record["generated_text"], {"role": "user", "content": "hello"}], **GREEDY)
    assert [each["role"] for each in again["generated_text"]] == ["user", "assistant", "user", "assistant"]


def test_an_assistant_s_last_message_is_continued(generator: TextGenerationPipeline) -> None:
    [record] = generator(CHAT, **GREEDY)
    answer = record["generated_text"][-1]["content"]
    begun = [*CHAT, {"role": "assistant", "content": answer[:3]}]
    [continued] = generator(begun, **GREEDY)
    assert continued["generated_text"] == [*CHAT, {"role": "assistant", "content": answer}]
    [new] = generator(begun, continue_final_message=False, **GREEDY)
    assert len(new["generated_text"]) == len(begun) + 1


def test_several_sequences_differ_and_a_seed_repeats_them(generator: TextGenerationPipeline) -> None:
    options: dict[str, Any] = {
        "num_return_sequences": 3,
        "temperature": 3.0,
        "top_k": 0,
        "max_new_tokens": 20,
        "seed": 5,
    }
    records = generator("hello", **options)
    assert len(records) == len({record["generated_text"] for record in records}) == 3
    assert generator("hello", **options) == records


def test_a_stop_string_is_kept_as_transformers_keeps_it(generator: TextGenerationPipeline) -> None:
    [record] = generator(CHAT, return_full_text=False, **GREEDY)
    stop = record["generated_text"][2:4]
    for options in ({"stop_strings": [stop]}, {"stop_sequence": stop}):
        [cut] = generator(CHAT, return_full_text=False, **GREEDY, **options)
        assert cut["generated_text"].startswith(record["generated_text"][:4])
        assert len(cut["generated_text"]) < len(record["generated_text"])


def test_max_new_tokens_counts_new_tokens(generator: TextGenerationPipeline) -> None:
    [one], [five] = (generator("hello", max_new_tokens=n, do_sample=False, return_full_text=False) for n in (1, 5))
    assert five["generated_text"].startswith(one["generated_text"])
    assert len(five["generated_text"]) > len(one["generated_text"])


def test_a_loaded_model_may_be_given() -> None:
    with LLM("cria", threads=1) as llm:
        assert pipeline("text-generation", model=llm)(CHAT, **GREEDY)
        with pytest.raises(InvalidRequest, match="belong to the LLM"):
            pipeline("text-generation", model=llm, threads=2)


def test_another_task_names_the_ones_there_are() -> None:
    with pytest.raises(InvalidRequest, match=r"'summarization'.*text-generation"):
        pipeline("summarization")


@pytest.mark.parametrize(
    "options",
    [{"num_beams": 4}, {"max_length": 9}, {"return_tensors": True}, {"batch_size": 2}, {"num_return_sequences": 0},
     {"num_return_sequences": 2, "do_sample": False}, {"stop_strings": ["a"], "stop_sequence": "b"},
     {"max_new_tokens": -1}],
)  # fmt: skip
def test_an_option_it_cannot_honour_is_an_error(generator: TextGenerationPipeline, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        generator("hello", **options)


@pytest.mark.parametrize("inputs", [[], "", 3, None, [3], ["a", CHAT], [[]], [{"role": "user"}]])
def test_an_input_of_another_shape_is_an_error(generator: TextGenerationPipeline, inputs: Any) -> None:
    with pytest.raises(InvalidRequest):
        generator(inputs, **GREEDY)
