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
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack, overload

from puna import conversation, hardware
from puna.chat import ContextReport, Message, ToolCall
from puna.conversation import MessageLike
from puna.engine import EmbeddingRequest, GenerationRequest, Sink, TokenEvent
from puna.errors import InvalidRequest, PunaError
from puna.llm.options import ChatOptions, GenerateOptions, runtime_options, tool_choice
from puna.runtime import (
    ChatRequest,
    CompletionRequest,
    Delta,
    EmbedRequest,
    Finished,
    FinishReason,
    Generation,
    Options,
    Prompt,
    Request,
    SinkEvent,
    TextModel,
    TokenLogprob,
    Usage,
)
from puna.runtime.prompt import build, context_length
from puna.runtime.sequence_request import after_thought, answer, grammar_enforced, sequence_request
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


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer, and what it took."""

    text: str
    token_ids: tuple[int, ...]  # all that were generated, those of a stop string included
    finish_reason: FinishReason
    usage: Usage
    context: ContextReport  # messages that did not fit and were not seen
    warnings: tuple[str, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()  # of each token of the text, where they were asked for
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def message(self) -> dict[str, object]:
        """The answer as the next message of the conversation."""
        return conversation.to_dict(
            Message("assistant", self.text, thinking=self.thinking or None, tool_calls=self.tool_calls)
        )


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
        self._sinks: dict[str, Sink] = {}  # of the open requests
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
        chosen = runtime_options(options)
        prompts = [prompt] if isinstance(prompt, str) else prompt
        requests = [CompletionRequest("", text, raw=True, options=chosen) for text in prompts]
        return self._run(requests, single=isinstance(prompt, str), stream=stream)

    @overload
    def chat(
        self, messages: Conversation, *, stream: Literal[False] = False, **options: Unpack[ChatOptions]
    ) -> Completion: ...
    @overload
    def chat(self, messages: Conversation, *, stream: Literal[True], **options: Unpack[ChatOptions]) -> TextStream: ...
    @overload
    def chat(
        self,
        messages: Sequence[Conversation],
        *,
        stream: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> list[Completion]: ...
    def chat(
        self,
        messages: Conversation | Sequence[Conversation],
        *,
        stream: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Completion | list[Completion] | TextStream:
        """Answer a conversation, a list of {"role": "user", "content": "hello"}; or several conversations at once.

        What outgrows the context is dropped, oldest first, and reported in `Completion.context`. `stream=True`, for
        one conversation: an iterator over the pieces of the answer's text. Raises InvalidRequest, ContextOverflow,
        TemplateError.
        """
        tools = conversation.to_tools(options.pop("tools", ()))
        choice, think = tool_choice(options.pop("tool_choice", "auto")), options.pop("think", None)
        chosen = runtime_options(options)
        single = not messages or isinstance(messages[0], Mapping | Message)
        conversations: Any = [messages] if single else messages
        requests = [
            ChatRequest("", conversation.to_messages(turns), chosen, tools=tools, tool_choice=choice, think=think)
            for turns in conversations
        ]
        return self._run(requests, single=single, stream=stream)

    def logits(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """The logits after each token, float32 (n, vocab_size). Raises InvalidRequest, ContextOverflow."""
        with self._lock:
            return self._open_engine().logits(token_ids, adapter=self._text.local.adapter)

    def embed(self, text: str | Sequence[str], *, dimensions: int | None = None) -> NDArray[np.float32]:
        """The unit vector of a text, float32 (width,), or those of several, (texts, width), computed together.

        The model's file says how its tokens' final states become one vector; where it does not, it is the last
        token's state. dimensions: keep so many of its numbers. Raises ContextOverflow for a text longer than the
        context, InvalidRequest.
        """
        from puna.runtime.embedding import EmbeddingJob, encode, shorten

        texts = (text,) if isinstance(text, str) else tuple(text)
        request = EmbedRequest("", texts, truncate=False, dimensions=dimensions)
        inputs = encode(request, self._text, self._context.tokens)
        with self._lock:
            engine = self._open_engine()
            adapter = self._text.local.adapter
            requests = [EmbeddingRequest(f"{next(self._ids)}", ids, adapter=adapter) for ids in inputs.token_ids]
            job = EmbeddingJob(requests, submit=self._submit, cancel=engine.cancel, work=self._work)
            vectors = shorten(job.vectors(self._text.config.embedding_length), dimensions)
        return vectors[0] if isinstance(text, str) else vectors

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
            engine_request = sequence_request(f"{next(self._ids)}", request, prompt, options, self._text)
            waiting = _Answer(prompt)
            waiting.generation = Generation(
                engine_request,
                prompt,
                tokenizer=self._text.tokenizer,
                answer=answer(request, prompt, options, self._text),
                grammar_enforced=grammar_enforced(request, options, engine_request),
                sink=waiting.take,
                submit=self._submit,
                cancel=engine.cancel,
                after_thought=lambda ran, written: after_thought(ran, written, request, prompt, options, self._text),
                ended=lambda _: None,
                started=time.monotonic(),
                load_seconds=0.0,
            )
            self._submit(engine_request, waiting.generation.on_event)
        return waiting

    def _step(self, answer: _Answer) -> None:
        """One step of the engine for all open answers, unless another thread's step has brought `answer` something."""
        with self._lock:
            if answer.has_news:
                return
            self._work()

    def _work(self) -> None:
        """One step of the engine; its events go to whom they concern."""
        for event in self._open_engine().step():
            self._sinks[event.id](event)
            if not isinstance(event, TokenEvent):
                del self._sinks[event.id]

    def _cancel(self, answer: _Answer) -> None:
        """End an answer whose reader has left: it is gone from the next step on."""
        with self._lock:
            if self._engine is not None and answer.last is None:
                answer.generation.cancel()

    def _submit(self, request: GenerationRequest | EmbeddingRequest, sink: Sink) -> None:
        self._open_engine().add(request)
        self._sinks[request.id] = sink

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
        return Completion(
            text="".join(self._answer.text),
            token_ids=last.token_ids,
            finish_reason=last.reason,
            usage=last.usage,
            context=prompt.context,
            warnings=prompt.warnings,
            logprobs=tuple(self._answer.logprobs),
            thinking="".join(self._answer.thinking),
            tool_calls=tuple(self._answer.tool_calls),
        )

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
        self.thinking: list[str] = []
        self.tool_calls: list[ToolCall] = []
        self.last: Finished | PunaError | None = None

    @property
    def has_news(self) -> bool:
        return bool(self.pieces) or self.last is not None

    def take(self, event: SinkEvent) -> None:
        if isinstance(event, Delta):
            if event.text:
                self.pieces.append(event.text)
            self.text.append(event.text)
            self.thinking.append(event.thinking)
            self.tool_calls += event.tool_calls
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
    adapter = text.local.adapter
    return models.load(
        file,
        threads=threads,
        num_blocks=room.num_blocks,
        context=room.context,
        max_outputs=MAX_OUTPUTS,
        kv_type=kv_type,
        adapters=[models.open_adapter(Path(adapter), config)] if adapter else [],
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
