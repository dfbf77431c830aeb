"""Over HTTP, as clients see it: eight at once, the second turn of a chat, the same after a restart."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.process import ContestantError
from bench.results import Measures, Result
from bench.server import Answer, Message, PunaServer
from bench.session import Options, Session, Turn

CLIENTS = 8
PROMPT, GENERATED = 32, 64  # of each client: short prompts, so that all decode at once
CHAT = 2000  # tokens of the first message
ANSWER = 16  # tokens of an answer in the chat
SAVING = 2.0  # seconds that a server is idle before it is restarted

_nonces = random.Random()  # never the same text twice, or it would be cached


def clients(
    model: Path, options: Options, *, count: int = CLIENTS, prompt: int = PROMPT, generated: int = GENERATED
) -> Result:
    """Tokens a second of all clients while all are answered, and of one alone; llama.cpp: as many in one batch."""
    with Session(options) as session, served(options, prompt + generated + 128) as server:
        server.chat(model, nonce_message(8), 1)  # loads the model
        turns: dict[str, Turn] = {
            "puna": lambda: {
                "single": _together(server, model, 1, prompt, generated),
                "batch": _together(server, model, count, prompt, generated),
            }
        }
        peers = session.load(
            session.peers("llama.cpp"), path=str(model), context=prompt + generated + 32, sequences=count
        )
        for name, peer in peers.items():
            turns[name] = partial(peer.ask, "batch", sequences=count, prompt=prompt, generated=generated)
        return session.result("clients", model, session.rounds(turns))


def chat(model: Path, options: Options, *, tokens: int = CHAT) -> Result:
    """Seconds to the first token: of a long first turn, of the second, of a second after the server was restarted."""
    with Session(options) as session:
        return session.result("chat", model, session.rounds({"puna": lambda: _chat(model, options, tokens)}))


def _chat(model: Path, options: Options, tokens: int) -> Measures:
    """Two chats: one goes on at once, the other after the restart, its model loaded again before the clock starts."""
    first, other = nonce_message(tokens), nonce_message(tokens)
    with served(options, tokens + 512) as server:
        server.chat(model, nonce_message(8), 1)
        one = server.chat(model, first, ANSWER)
        two = server.chat(model, _second(first, one), ANSWER)
        before = server.chat(model, other, ANSWER)
        time.sleep(SAVING)
    with served(options, tokens + 512) as server:
        server.chat(model, nonce_message(8), 1)
        after = server.chat(model, _second(other, before), ANSWER)
    return {
        "first_turn": one.first,
        "second_turn": two.first,
        "restarted": after.first,
        "prompt_tokens": two.prompt_tokens,
        "cached_tokens": two.cached_tokens,
        "restarted_cached_tokens": after.cached_tokens,
    }


@contextmanager
def served(options: Options, context: int) -> Iterator[PunaServer]:
    """A server for the time of a measurement."""
    settings = {
        "PUNA_THREADS": options.team, "PUNA_CONTEXT_LENGTH": context, "PUNA_NUM_PARALLEL": CLIENTS,
        "PUNA_KEEP_ALIVE": "10m",
    }  # fmt: skip
    with PunaServer({name: str(value) for name, value in settings.items()}) as server:
        yield server


def nonce_message(tokens: int) -> list[Message]:
    """A user's message of so many letters, each a token in `bench.make_model`'s vocabulary."""
    return [{"role": "user", "content": "".join(_nonces.choices(string.ascii_letters, k=tokens))}]


def _second(first: list[Message], answer: Answer) -> list[Message]:
    return [*first, {"role": "assistant", "content": answer.text}, *nonce_message(24)]


def _together(server: PunaServer, model: Path, count: int, prompt: int, generated: int) -> float:
    """Tokens a second of all, from when the last has its first token until the first has its last."""

    def ask(messages: list[Message]) -> tuple[float, Answer]:
        start = time.perf_counter()
        return start, server.chat(model, messages, generated)

    with ThreadPoolExecutor(count) as pool:
        return _rate(list(pool.map(ask, [nonce_message(prompt) for _ in range(count)])))


def _rate(answers: list[tuple[float, Answer]]) -> float:
    begin = max(start + answer.arrivals[0] for start, answer in answers)
    end = min(start + answer.arrivals[-1] for start, answer in answers)
    if end <= begin:
        raise ContestantError("the clients were not all answered at once: let them ask for longer answers")
    tokens = 0.0
    for start, answer in answers:
        inside = sum(begin < start + arrival <= end for arrival in answer.arrivals)
        tokens += inside * answer.completion_tokens / len(answer.arrivals)  # a piece may hold several tokens
    return tokens / (end - begin)
