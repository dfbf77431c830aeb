"""`puna.pipeline`: takes and gives what transformers' pipelines do, for strings and for lists of messages.

Names, defaults and shapes are those of transformers 5's `TextGenerationPipeline`; an option that Puna does not have
is an error, never ignored. Knows nothing of how text is generated: that is `puna.llm`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeAlias, overload

from puna.errors import InvalidRequest, TemplateError
from puna.llm import LLM, Completion, GenerateOptions, PathOrName

TASKS = ("text-generation",)

Record: TypeAlias = dict[str, Any]  # {"generated_text": the text, or the messages}
Messages: TypeAlias = Sequence[Mapping[str, Any]]

# What transformers' pipeline and its generate() do where neither the caller nor the model says.
MAX_NEW_TOKENS = 256
SAMPLING: GenerateOptions = {"temperature": 0.7, "top_k": 50, "top_p": 1.0}

# transformers' name -> ours, for the options that are passed on as they are.
_NAMES = {
    "max_new_tokens": "max_tokens",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repetition_penalty": "repeat_penalty",
    "seed": "seed",
}
_OWN = (
    "do_sample",
    "num_return_sequences",
    "stop_strings",
    "stop_sequence",
    "return_full_text",
    "continue_final_message",
)


def pipeline(
    task: str = "text-generation",
    model: PathOrName | LLM = "cria",
    *,
    threads: int | None = None,
    context: int | None = None,
) -> TextGenerationPipeline:
    """A callable that generates text, as transformers' `pipeline`.

    `model` is a name, a path, or an LLM that is loaded already; `threads` and `context` as in LLM.
    Raises InvalidRequest for a task other than text-generation.
    """
    if task not in TASKS:
        raise InvalidRequest(f"the task {task!r} is not one of Puna's; there is {', '.join(TASKS)}")
    if not isinstance(model, LLM):
        return TextGenerationPipeline(LLM(model, threads=threads, context=context))
    if threads is not None or context is not None:
        raise InvalidRequest("threads and context belong to the LLM: give them where it is made")
    return TextGenerationPipeline(model)


class TextGenerationPipeline:
    """Continues texts and conversations."""

    task = "text-generation"

    def __init__(self, model: LLM) -> None:
        self.model = model

    @overload
    def __call__(self, text_inputs: str | Messages, **options: Any) -> list[Record]: ...
    @overload
    def __call__(self, text_inputs: list[str] | Sequence[Messages], **options: Any) -> list[list[Record]]: ...
    def __call__(
        self, text_inputs: str | Messages | list[str] | Sequence[Messages], **options: Any
    ) -> list[Record] | list[list[Record]]:
        """Generate for one input or for a list of them.

        A text gives `[{"generated_text": text and continuation}]`, a list of messages
        `[{"generated_text": the messages and the assistant's}]`, and a list of either gives a list of these.

        Options, as in transformers: max_new_tokens (256), do_sample (True), temperature (0.7), top_k (50), top_p (1.0),
        min_p, typical_p, repetition_penalty, num_return_sequences, stop_strings (kept at the end of the text; also
        `stop_sequence`), return_full_text (True), continue_final_message (whether the last message is the beginning of
        the answer; by default if it is the assistant's), and of our own: seed. What the model's own parameters say
        comes before these defaults. Raises InvalidRequest.
        """
        call = _Call(self.model, options)
        match _kind(text_inputs):
            case "text" | "messages":
                return call.records([text_inputs])[0]
            case _:
                return call.records(list(text_inputs))

    def close(self) -> None:
        """Give the model's memory back."""
        self.model.close()

    def __enter__(self) -> TextGenerationPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _kind(inputs: object) -> str:
    """ "text", "messages" or "batch". Raises InvalidRequest for anything else."""
    if isinstance(inputs, str):
        return "text"
    if isinstance(inputs, list | tuple) and inputs:
        if all(isinstance(each, str) for each in inputs):
            return "batch"
        if all(map(_is_message, inputs)):
            return "messages"
        if all(isinstance(each, list | tuple) and each and all(map(_is_message, each)) for each in inputs):
            return "batch"
    raise InvalidRequest(
        "give a text, a list of texts, a list of messages (dicts with 'role' and 'content'), or a list of such lists"
    )


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and "role" in value and "content" in value


class _Call:
    """One call of the pipeline: its options, checked, and what they make of each input."""

    def __init__(self, llm: LLM, options: Mapping[str, Any]) -> None:
        if unknown := sorted(options.keys() - _NAMES.keys() - set(_OWN)):
            known = ", ".join([*_NAMES, *_OWN])
            raise InvalidRequest(f"the option {unknown[0]!r} is not supported; these are: {known}")
        self.llm = llm
        self.copies: int = options.get("num_return_sequences", 1)
        self.full_text: bool = options.get("return_full_text", True) is not False
        self.continue_final_message: bool | None = options.get("continue_final_message")
        self.stop = _stop_strings(options)
        self.generate = self._generate_options(options)
        if self.copies < 1 or (self.copies > 1 and self.generate.get("temperature") == 0):
            raise InvalidRequest("num_return_sequences must be at least 1, and 1 where do_sample is False")

    def _generate_options(self, options: Mapping[str, Any]) -> GenerateOptions:
        chosen: GenerateOptions = {"max_tokens": MAX_NEW_TOKENS}
        own = {name: value for name in SAMPLING if (value := getattr(self.llm.defaults, name)) is not None}
        given = {_NAMES[name]: value for name, value in options.items() if name in _NAMES and value is not None}
        chosen |= SAMPLING | own | given  # type: ignore[typeddict-item]
        if "repetition_penalty" in options:
            chosen["repeat_last_n"] = -1  # transformers looks at the whole text
        if options.get("do_sample", True) is False:
            chosen["temperature"] = 0.0
        if self.stop:
            chosen["stop"] = self.stop
        return chosen

    def records(self, inputs: Sequence[Any]) -> list[list[Record]]:
        """For each input its `copies` records. All are generated together."""
        prompts = [self._prompt(each) for each in inputs for _ in range(self.copies)]
        completions = self._complete(prompts)
        records = [
            {"generated_text": self._generated(inputs[index // self.copies], completion)}
            for index, completion in enumerate(completions)
        ]
        return [records[first : first + self.copies] for first in range(0, len(records), self.copies)]

    def _complete(self, prompts: list[str]) -> list[Completion]:
        """One seed for several copies of a prompt would give the same answer: each copy draws its own from it."""
        if self.copies == 1 or "seed" not in self.generate:
            return self.llm.generate(prompts, **self.generate)
        rng = random.Random(self.generate["seed"])
        seeds = [rng.getrandbits(63) for _ in range(self.copies)]
        completions = []
        for index, prompt in enumerate(prompts):
            options = self.generate.copy()
            options["seed"] = seeds[index % self.copies]
            completions.append(self.llm.generate(prompt, **options))
        return completions

    def _prompt(self, given: str | Messages) -> str:
        """The text that the model continues."""
        if isinstance(given, str):
            return given
        if not self._continues(given):
            return self.llm.render(given)
        text = self.llm.render(given, add_generation_prompt=False)
        begun = str(given[-1]["content"]).strip()
        end = text.rfind(begun)
        if end < 0:
            raise TemplateError("the chat template changes the last message, so that it cannot be continued")
        return text[: end + len(begun)]

    def _continues(self, messages: Messages) -> bool:
        if self.continue_final_message is None:
            return bool(messages[-1]["role"] == "assistant")
        return self.continue_final_message

    def _generated(self, given: str | Messages, completion: Completion) -> str | list[Mapping[str, Any]]:
        # transformers keeps the stop string; ours ends before it, but the token ids have it.
        text = self.llm.decode(completion.token_ids) if self.stop else completion.text
        if not self.full_text:
            return text
        if isinstance(given, str):
            return given + text
        if self._continues(given):
            last = {"role": given[-1]["role"], "content": given[-1]["content"] + text}
            return [*given[:-1], last]
        return [*given, {"role": "assistant", "content": text}]


def _stop_strings(options: Mapping[str, Any]) -> list[str]:
    stops = [options[name] for name in ("stop_strings", "stop_sequence") if options.get(name) is not None]
    if len(stops) > 1:
        raise InvalidRequest("give stop_strings or stop_sequence, not both")
    if not stops:
        return []
    return stops[0] if isinstance(stops[0], list) else [stops[0]]
