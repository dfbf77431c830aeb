"""`puna.LLM` and `puna.Tokenizer`: a model in this process, for programs.

Prompts, fitting to the context, stop strings and text are `puna.runtime`'s, tokens `puna.engine`'s; here they meet
without a server and without a runner process. Knows nothing of HTTP or terminals.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, overload

from puna import conversation, hardware
from puna.chat import ContextReport, Message
from puna.conversation import MessageLike
from puna.errors import InvalidRequest, PunaError, UnsupportedModel
from puna.runtime import (
    ChatRequest,
    CompletionRequest,
    Delta,
    Finished,
    FinishReason,
    Generation,
    Grammar,
    Options,
    Prompt,
    Request,
    SinkEvent,
    TextModel,
    TokenLogprob,
    Usage,
)
from puna.runtime.parameters import parse_format
from puna.runtime.prompt import build, context_length
from puna.runtime.sequence_request import continues, sequence_request
from puna.runtime.settings import kv_cache_type
from puna.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from puna.engine.engine import Engine
    from puna.models import Model

PathOrName: TypeAlias = str | os.PathLike[str]
Conversation: TypeAlias = Sequence[MessageLike]

MAX_SEQUENCES = 8  # computed at once
MAX_OUTPUTS = 64  # tokens for which one step of `logits` gives them


class GenerateOptions(TypedDict, total=False):
    """How to generate. What is left out is as the model's own parameters say, else Puna's default."""

    max_tokens: int
    stop: str | Sequence[str]
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repeat_penalty: float
    repeat_last_n: int
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    seed: int
    format: Literal["json"] | Mapping[str, Any] | Grammar
    logprobs: int
    draft_tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer, and what it took."""

    text: str
    token_ids: tuple[int, ...]  # all that were generated, those of a stop string included
    finish_reason: FinishReason
    usage: Usage
    context: ContextReport  # messages that did not fit and were not seen
    warnings: tuple[str, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()  # of each token, where they were asked for

    @property
    def message(self) -> dict[str, object]:
        """The answer as the next message of the conversation."""
        return {"role": "assistant", "content": self.text}


class Tokenizer:
    """A model's tokenizer: text to token ids and back."""

    def __init__(self, model: PathOrName) -> None:
        """Read the vocabulary of a model: a name, or the path of a GGUF file or a Hugging Face folder.

        Raises ModelNotFound, InvalidGGUF, InvalidTokenizer, UnsupportedModel.
        """
        self._tokenizer = _open(model).tokenizer

    @property
    def vocab_size(self) -> int:
        """Number of token ids: 0 to vocab_size - 1."""
        return self._tokenizer.vocab_size

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text.

        add_special    with the BOS and EOS that the model wants
        parse_special  special tokens written in the text count as such: only for text you trust
        """
        return self._tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of token ids."""
        return self._tokenizer.decode(ids, skip_special=skip_special)


class LLM:
    """A model loaded into this process. Threads take turns; `close` or `with` gives the memory back."""

    def __init__(
        self,
        model: PathOrName,
        *,
        threads: int | None = None,
        context: int | None = None,
        draft_model: PathOrName | None = None,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """Load a model: a name, or the path of a GGUF file or a Hugging Face folder.

        threads      to compute with (PUNA_THREADS, else the number of physical cores)
        context      tokens of prompt and answer together (the model's own, at most 8192)
        draft_model  a small model of the same vocabulary that proposes tokens: answers stay as they are, and come
                     faster if it is much smaller and often right
        on_progress  called as (what, done, total) while kernels compile and weights load

        Raises ModelNotFound, InvalidGGUF, InvalidTokenizer, UnsupportedModel, InvalidRequest.
        """
        self._text = _open(model)
        options = Options(context_length=context).over(self._text.defaults)
        self._context = context_length(options, self._text.config.context_length, None)
        threads = threads or hardware.threads()
        draft = None if draft_model is None else _open(draft_model)
        if draft is not None:
            _check_draft(self._text, draft)
        self._model = _load(self._text, threads, self._context.tokens, on_progress)
        self._draft = None if draft is None else _load(draft, threads, self._context.tokens, on_progress)
        self._engine: Engine | None = _engine(self._model, self._context.tokens, self._text, self._draft)
        self._answers: dict[str, _Answer] = {}  # the open ones
        self._ids = itertools.count()
        self._lock = threading.RLock()

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together."""
        return self._context.tokens

    @overload
    def generate(
        self, prompt: str, *, stream: Literal[False] = False, **options: Unpack[GenerateOptions]
    ) -> Completion: ...
    @overload
    def generate(self, prompt: str, *, stream: Literal[True], **options: Unpack[GenerateOptions]) -> TextStream: ...
    @overload
    def generate(
        self, prompt: list[str], *, stream: Literal[False] = False, **options: Unpack[GenerateOptions]
    ) -> list[Completion]: ...
    def generate(
        self, prompt: str | list[str], *, stream: bool = False, **options: Unpack[GenerateOptions]
    ) -> Completion | list[Completion] | TextStream:
        """Continue a text as it stands, without the chat template; special tokens written in it count.

        Of a list of prompts all are computed together. `stream=True`, for one prompt: an iterator over the pieces of
        the answer. Raises InvalidRequest, ContextOverflow.
        """
        chosen = _options(options)
        prompts = [prompt] if isinstance(prompt, str) else prompt
        requests = [CompletionRequest("", text, raw=True, options=chosen) for text in prompts]
        return self._run(requests, single=isinstance(prompt, str), stream=stream)

    @overload
    def chat(
        self, messages: Conversation, *, stream: Literal[False] = False, **options: Unpack[GenerateOptions]
    ) -> Completion: ...
    @overload
    def chat(
        self, messages: Conversation, *, stream: Literal[True], **options: Unpack[GenerateOptions]
    ) -> TextStream: ...
    @overload
    def chat(
        self,
        messages: Sequence[Conversation],
        *,
        stream: Literal[False] = False,
        **options: Unpack[GenerateOptions],
    ) -> list[Completion]: ...
    def chat(
        self,
        messages: Conversation | Sequence[Conversation],
        *,
        stream: bool = False,
        **options: Unpack[GenerateOptions],
    ) -> Completion | list[Completion] | TextStream:
        """Answer a conversation, a list of {"role": "user", "content": "hello"}; or several conversations at once.

        What outgrows the context is dropped, oldest first, and reported in `Completion.context`. `stream=True`, for
        one conversation: an iterator over the pieces of the answer. Raises InvalidRequest, ContextOverflow,
        TemplateError.
        """
        chosen = _options(options)
        single = not messages or isinstance(messages[0], Mapping | Message)
        conversations: Any = [messages] if single else messages
        requests = [ChatRequest("", conversation.to_messages(turns), chosen) for turns in conversations]
        return self._run(requests, single=single, stream=stream)

    def logits(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """The logits after each token, float32 (n, vocab_size). Raises InvalidRequest, ContextOverflow."""
        with self._lock:
            return self._open_engine().logits(token_ids)

    def embed(self, text: str | Sequence[str]) -> NDArray[np.float32]:  # noqa: ARG002 (as it will be)
        """Embeddings: not there yet. Raises UnsupportedModel."""
        raise UnsupportedModel(f"{self._text.local.name}: embeddings are not supported yet; nothing was computed")

    def render(self, messages: Conversation, *, add_generation_prompt: bool = True) -> str:
        """The prompt that a conversation becomes. Raises TemplateError."""
        turns = conversation.to_messages(messages)
        return self._text.render(turns, add_generation_prompt=add_generation_prompt)

    @property
    def defaults(self) -> Options:
        """The model's own parameters."""
        return self._text.defaults

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        return self._text.tokenizer.decode(token_ids)

    def close(self) -> None:
        """Give the memory back. Answers still streaming end with an error. May be called twice."""
        with self._lock:
            if self._engine is not None:
                self._engine.close(0)
                self._engine = None
                self._model.close()
                if self._draft is not None:
                    self._draft.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(
        self, requests: Sequence[Request], *, single: bool, stream: bool
    ) -> Completion | list[Completion] | TextStream:
        if stream and not single:
            raise InvalidRequest("stream=True takes one prompt or conversation, not a list of them")
        streams: list[TextStream] = []
        try:
            streams += (TextStream(self, self._start(request)) for request in requests)
            if stream:
                return streams[0]
            completions = [each.completion for each in streams]
        except BaseException:  # one failed, or Ctrl-C: the others are not wanted either
            for each in streams:
                each.close()
            raise
        return completions[0] if single else completions

    def _start(self, request: Request) -> _Answer:
        """Queue a request; its answer grows with each `_step`."""
        options = request.options.over(self._text.defaults)
        prompt = build(request, self._text, options, self._context)
        prompt = replace(prompt, warnings=prompt.warnings + self._model.warnings)
        with self._lock:
            engine = self._open_engine()
            engine_request = sequence_request(f"{next(self._ids)}", prompt, options, self._text.tokenizer)
            answer = _Answer(prompt)
            answer.generation = Generation(
                engine_request.id,
                prompt,
                tokenizer=self._text.tokenizer,
                continues=continues(request),
                stops=options.stop or (),
                sink=answer.take,
                cancel=engine.cancel,
                ended=lambda: None,
                started=time.monotonic(),
                load_seconds=0.0,
            )
            engine.add(engine_request)
            self._answers[engine_request.id] = answer
        return answer

    def _step(self, answer: _Answer) -> None:
        """One step of the engine for all open answers, unless another thread's step has brought `answer` something."""
        with self._lock:
            if answer.has_news:
                return
            for event in self._open_engine().step():
                waiting = self._answers[event.id]
                waiting.generation.on_event(event)
                if waiting.last is not None:
                    del self._answers[event.id]

    def _cancel(self, answer: _Answer) -> None:
        """End an answer whose reader has left: it is gone from the next step on."""
        with self._lock:
            if self._engine is not None and answer.last is None:
                answer.generation.cancel()

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise InvalidRequest("this LLM is closed; make a new one")
        return self._engine


class TextStream(Iterator[str]):
    """The pieces of one answer, as they come. Leaving it early: `close` (or `with`) ends the answer."""

    def __init__(self, llm: LLM, answer: _Answer) -> None:
        self._llm = llm
        self._answer = answer

    def __next__(self) -> str:
        answer = self._answer
        while not answer.has_news:
            self._llm._step(answer)
        if answer.pieces:
            return answer.pieces.popleft()
        if isinstance(answer.last, PunaError):
            raise answer.last
        raise StopIteration

    @property
    def completion(self) -> Completion:
        """The whole answer; reads to its end first. Raises the error that ended it."""
        for _ in self:
            pass
        last = self._answer.last
        assert isinstance(last, Finished), "a stream that ends without an error was finished"
        prompt = self._answer.prompt
        text = "".join(self._answer.text)
        logprobs = tuple(self._answer.logprobs)
        return Completion(text, last.token_ids, last.reason, last.usage, prompt.context, prompt.warnings, logprobs)

    def close(self) -> None:
        """End the answer; what was not read of it is lost."""
        self._llm._cancel(self._answer)

    def __enter__(self) -> TextStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Answer:
    """What has come of one generation: pieces not yet read, the whole text, the last event."""

    generation: Generation

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.pieces: deque[str] = deque()
        self.text: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.last: Finished | PunaError | None = None

    @property
    def has_news(self) -> bool:
        return bool(self.pieces) or self.last is not None

    def take(self, event: SinkEvent) -> None:
        if isinstance(event, Delta):
            self.pieces.append(event.text)
            self.text.append(event.text)
            self.logprobs += event.logprobs
        else:
            self.last = event


def _open(model: PathOrName) -> TextModel:
    return TextModel.open(Store().resolve(os.fspath(model)))


def _load(text: TextModel, threads: int, context: int, on_progress: Callable[[str, int, int], None] | None) -> Model:
    from puna import models
    from puna.engine.capacity import capacity
    from puna.gguf import open_model

    kv_type = kv_cache_type()
    file = open_model(text.local.path)
    config = models.configuration(file)
    room = capacity(config, kv_type, context=context, max_sequences=MAX_SEQUENCES, weights=file.size)
    return models.load(
        file,
        threads=threads,
        num_blocks=room.num_blocks,
        max_outputs=MAX_OUTPUTS,
        kv_type=kv_type,
        progress=on_progress,
    )


def _engine(model: Model, context: int, text: TextModel, draft: Model | None) -> Engine:
    from puna.engine.draft_model import DraftModel
    from puna.engine.engine import Engine

    drafts = None if draft is None else DraftModel(draft, context=draft.context)
    tokenizer = text.tokenizer
    return Engine(model, context=context, max_sequences=MAX_SEQUENCES, tokenizer=lambda: tokenizer, draft=drafts)


def _check_draft(text: TextModel, draft: TextModel) -> None:
    """Raises InvalidRequest before anything is loaded."""
    from puna.engine.draft_model import check_vocabularies

    check_vocabularies(text.tokenizer, draft.tokenizer)


def _options(options: GenerateOptions) -> Options:
    """Raises InvalidRequest for a name that is not an option or a value that is out of range."""
    given: dict[str, Any] = dict(options)
    if unknown := sorted(given.keys() - GenerateOptions.__annotations__.keys()):
        known = ", ".join(GenerateOptions.__annotations__)
        raise InvalidRequest(f"unknown option {unknown[0]!r}; known are {known}")
    if given.get("stop") is not None:
        given["stop"] = _stop_strings(given["stop"])
    form = given.pop("format", None)
    given["grammar"] = form if isinstance(form, Grammar) else parse_format(form)
    try:
        return Options(**given)
    except TypeError as error:
        raise InvalidRequest(f"an option has a value of the wrong type: {error}") from None


def _stop_strings(stop: object) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list | tuple) or not all(isinstance(each, str) for each in stops):
        raise InvalidRequest(f"stop is a text or a list of texts, not {stop!r}")
    return tuple(stops)
