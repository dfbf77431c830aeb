"""An answer as /v1/responses writes it: output items, and an event for everything that happens to them.

Knows nothing of requests, HTTP or sequence numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from puna.chat import ToolCall
from puna.runtime import Delta
from puna.server import replies
from puna.server.openai.wire import arguments_text

Event: TypeAlias = dict[str, Any]
Annotations: TypeAlias = Callable[[str], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _TextKind:
    """How an item made of text is written."""

    prefix: str  # of its id
    part: str  # the type of its one part
    text_events: str  # what its text's events begin with
    part_events: str
    index: str  # the field that says which part it is


_MESSAGE = _TextKind("msg", "output_text", "response.output_text", "response.content_part", "content_index")
_THOUGHT = _TextKind("rs", "reasoning_text", "response.reasoning_text", "response.content_part", "content_index")
_SUMMARY = _TextKind(
    "rs", "summary_text", "response.reasoning_summary_text", "response.reasoning_summary_part", "summary_index"
)


class Output:
    """The items of one answer, as it comes. `take` and `finish` give the events to send."""

    def __init__(
        self,
        answer_id: str,
        *,
        summarized: bool,
        namespaces: Mapping[str, tuple[str, str]],
        annotations: Annotations = lambda _: [],
    ) -> None:
        """summarized: thoughts are sent as a summary.
        namespaces: of functions that have one, namespace and name, by what the model calls them.
        annotations: of a text, such as what it cites.
        """
        self._annotations = annotations
        self.items: list[dict[str, Any]] = []  # those that are finished
        self._answer_id = answer_id
        self._namespaces = namespaces
        self._thought = _SUMMARY if summarized else _THOUGHT
        self._open: _OpenItem | None = None

    def take(self, delta: Delta) -> list[Event]:
        """The next piece of the answer."""
        events: list[Event] = []
        if delta.thinking:
            events += self._write(self._thought, Delta(delta.thinking))
        if delta.text or delta.logprobs:
            events += self._write(_MESSAGE, delta)
        for call in delta.tool_calls:
            events += (*self._close("completed"), *self._call(call))
        return events

    def finish(self, status: str) -> list[Event]:
        """The end; `status` is that of an item which is still open."""
        return list(self._close(status))

    def search(self, query: str, results: Sequence[Event] | None) -> list[Event]:
        """A search in vector stores that has been made; None: its results are not shown."""
        index, item_id = len(self.items), self._next_id("fs")
        item = {
            "type": "file_search_call",
            "id": item_id,
            "status": "completed",
            "queries": [query],
            "results": None if results is None else list(results),
        }
        self.items.append(item)
        where = {"item_id": item_id, "output_index": index}
        begun = {**item, "status": "in_progress", "results": None}
        return [
            {"type": "response.output_item.added", "output_index": index, "item": begun},
            *(
                {"type": f"response.file_search_call.{step}", **where}
                for step in ("in_progress", "searching", "completed")
            ),
            {"type": "response.output_item.done", "output_index": index, "item": item},
        ]

    def _write(self, kind: _TextKind, delta: Delta) -> Iterator[Event]:
        if self._open is None or self._open.kind is not kind:
            yield from self._close("completed")
            self._open = _OpenItem(kind, self._next_id(kind.prefix), len(self.items), self._annotations)
            yield from self._open.begin()
        yield self._open.add(delta)

    def _close(self, status: str) -> Iterator[Event]:
        if self._open is not None:
            yield from self._open.end(status)
            self.items.append(self._open.item(status))
            self._open = None

    def _call(self, call: ToolCall) -> Iterator[Event]:
        index, item_id = len(self.items), self._next_id("fc")
        arguments = arguments_text(call)
        item = {
            "type": "function_call",
            "id": item_id,
            "call_id": call.id,
            **self._named(call.name),
            "arguments": arguments,
            "status": "completed",
        }
        where = {"item_id": item_id, "output_index": index}
        begun = {**item, "arguments": "", "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        yield {"type": "response.function_call_arguments.delta", **where, "delta": arguments}
        yield {"type": "response.function_call_arguments.done", **where, "name": item["name"], "arguments": arguments}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
        self.items.append(item)

    def _named(self, name: str) -> Event:
        if name not in self._namespaces:
            return {"name": name}
        namespace, own = self._namespaces[name]
        return {"name": own, "namespace": namespace}

    def _next_id(self, prefix: str) -> str:
        """Holds the answer's id, by which a reference to the item is found again."""
        return f"{prefix}_{self._answer_id}_{len(self.items)}"


class _OpenItem:
    """A message or a thought that is being written: one part of text."""

    def __init__(self, kind: _TextKind, item_id: str, output_index: int, annotations: Annotations) -> None:
        self.kind = kind
        self._annotations = annotations
        self._cites: list[dict[str, Any]] = []
        self._id = item_id
        self._output_index = output_index
        self._texts: list[str] = []
        self._logprobs: list[dict[str, object]] = []
        self._where = {"item_id": item_id, "output_index": output_index, kind.index: 0}

    def begin(self) -> Iterator[Event]:
        item = self._item("in_progress", [])
        yield {"type": "response.output_item.added", "output_index": self._output_index, "item": item}
        yield {"type": f"{self.kind.part_events}.added", **self._where, "part": self._part()}

    def add(self, delta: Delta) -> Event:
        self._texts.append(delta.text)
        logprobs = [{"top_logprobs": [], **replies.logprob_object(token)} for token in delta.logprobs]
        self._logprobs += logprobs
        event = {"type": f"{self.kind.text_events}.delta", **self._where, "delta": delta.text}
        return {**event, "logprobs": logprobs} if self.kind is _MESSAGE else event

    def end(self, status: str) -> Iterator[Event]:
        if self.kind is _MESSAGE:
            self._cites = self._annotations("".join(self._texts))
        for index, annotation in enumerate(self._cites):
            told = {**self._where, "annotation_index": index, "annotation": annotation}
            yield {"type": "response.output_text.annotation.added", **told}
        part = self._part()
        done = {"type": f"{self.kind.text_events}.done", **self._where, "text": part["text"]}
        yield {**done, "logprobs": self._logprobs} if self.kind is _MESSAGE else done
        yield {"type": f"{self.kind.part_events}.done", **self._where, "part": part}
        yield {"type": "response.output_item.done", "output_index": self._output_index, "item": self.item(status)}

    def item(self, status: str) -> dict[str, Any]:
        return self._item(status, [self._part()])

    def _part(self) -> dict[str, Any]:
        part: dict[str, Any] = {"type": self.kind.part, "text": "".join(self._texts)}
        return (
            {**part, "annotations": list(self._cites), "logprobs": list(self._logprobs)}
            if self.kind is _MESSAGE
            else part
        )

    def _item(self, status: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
        if self.kind is _MESSAGE:
            return {"type": "message", "id": self._id, "role": "assistant", "status": status, "content": parts}
        item: dict[str, Any] = {"type": "reasoning", "id": self._id, "status": status, "summary": [], "content": []}
        item["summary" if self.kind is _SUMMARY else "content"] = parts
        return item
