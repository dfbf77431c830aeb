"""/tokenize and /detokenize, as vLLM's and llama.cpp's users call them. Translates, no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from puna.errors import InvalidRequest
from puna.runtime import ChatRequest, Runtime
from puna.server import replies
from puna.server.body import Body, Integer, PunaBody, read
from puna.server.encoding import json_bytes
from puna.server.live import Service
from puna.server.openai.messages import MessageBody, messages_of
from puna.server.openai.tools import ToolBody, chat_tools
from puna.server.openapi import request_body
from puna.tokenizer import Tokenizer

Object = dict[str, Any]


class _ModelBody(Body):
    """A request about a model's vocabulary."""

    model: str = Field(default="", description="The model's name.")
    puna: PunaBody = Field(default=PunaBody(), description="Whether to be strict.")

    def checked(self) -> list[str]:
        """Warnings. Raises InvalidRequest where no model is named."""
        if not self.model.strip():
            raise InvalidRequest("model is required")
        warnings = [f"field {name!r} is unknown: it was ignored" for name in self.unknown()]
        replies.refuse_if_strict(self.puna, warnings)
        return warnings


class TokenizeBody(_ModelBody):
    """/tokenize. One of `prompt` (vLLM's name), `content` (llama.cpp's) and `messages`."""

    prompt: str | None = Field(default=None, description="The text; the model's own first and last tokens are added.")
    add_special_tokens: bool = Field(default=True, description="Whether these are added to `prompt`.")
    content: str | None = Field(default=None, description="The text, to which nothing is added.")
    add_special: bool = Field(
        default=False, description="Whether the model's first and last tokens are added to `content`."
    )
    parse_special: bool = Field(
        default=True, description="Whether a special token's text in `content` stands for the token."
    )
    messages: list[MessageBody] | None = Field(default=None, description="A conversation, as the model would see it.")
    tools: list[ToolBody] = Field(default_factory=list, description="Tools that it would be told of with `messages`.")
    return_token_strs: bool = Field(default=False, description="Reply with each token's text in `token_strs` too.")
    with_pieces: bool = Field(
        default=False, description="Each of `tokens` is `{id, piece}`; a piece of no text is its bytes."
    )

    def ids(self, runtime: Runtime) -> Sequence[int]:
        """The tokens. Raises InvalidRequest unless there is one thing to tokenize."""
        if sum(each is not None for each in (self.prompt, self.content, self.messages)) != 1:
            raise InvalidRequest("one of prompt, content and messages is required")
        if self.messages is not None:
            tools = chat_tools(self.tools, "auto").tools
            return runtime.prompt(ChatRequest(self.model, messages_of(self.messages), tools=tools)).token_ids
        tokenizer = runtime.text_model(self.model).tokenizer
        if self.prompt is not None:
            return tokenizer.encode(self.prompt, add_special=self.add_special_tokens, parse_special=True)
        return tokenizer.encode(self.content or "", add_special=self.add_special, parse_special=self.parse_special)


class DetokenizeBody(_ModelBody):
    """/detokenize."""

    tokens: list[Integer] = Field(default_factory=list, description="Token ids.")


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/tokenize", openapi_extra=request_body(TokenizeBody))
    async def tokenize(request: Request) -> Response:
        """The token ids of a text or of a conversation."""
        body = await read(request, TokenizeBody)
        return _json(await service.call(_tokenize, service.runtime, body))

    @router.post("/detokenize", openapi_extra=request_body(DetokenizeBody))
    async def detokenize(request: Request) -> Response:
        """The text of token ids, special ones included: as `prompt` (vLLM's name) and `content` (llama.cpp's)."""
        body = await read(request, DetokenizeBody)
        return _json(await service.call(_detokenize, service.runtime, body))

    return router


def _tokenize(runtime: Runtime, body: TokenizeBody) -> Object:
    warnings = body.checked()
    model = runtime.text_model(body.model)
    ids = body.ids(runtime)
    reply: Object = {
        "tokens": [_piece(model.tokenizer, token) for token in ids] if body.with_pieces else list(ids),
        "count": len(ids),
        "max_model_len": model.config.context_length,
    }
    if body.return_token_strs:
        reply["token_strs"] = [model.tokenizer.token_bytes(token).decode(errors="replace") for token in ids]
    return {**reply, "puna": {"warnings": warnings}}


def _detokenize(runtime: Runtime, body: DetokenizeBody) -> Object:
    warnings = body.checked()
    tokenizer = runtime.text_model(body.model).tokenizer
    text = tokenizer.decode(body.tokens, skip_special=False)
    return {"prompt": text, "content": text, "puna": {"warnings": warnings}}


def _piece(tokenizer: Tokenizer, token: int) -> Object:
    piece = tokenizer.token_bytes(token)
    try:
        return {"id": token, "piece": piece.decode()}
    except UnicodeDecodeError:
        return {"id": token, "piece": list(piece)}


def _json(value: Object) -> Response:
    warnings = value["puna"]["warnings"]
    return Response(json_bytes(value), headers=replies.warning_headers(warnings), media_type="application/json")
