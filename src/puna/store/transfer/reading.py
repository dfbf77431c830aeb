"""A small file or answer, whole and in memory: lists of files, texts, configurations. Bounded in time and size."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

import httpx

from puna.errors import TransferError
from puna.store.transfer.retrying import Patience, failure_of, refusal_of, retried
from puna.store.transfer.source import Source


class Missing(TransferError):
    """There is nothing at that address."""


class Forbidden(TransferError):
    """Others may have it."""


def read(
    sources: Sequence[Source],
    most: int,
    client: httpx.Client,
    cancelled: threading.Event,
    patience: Patience | None = None,
) -> bytes:
    """The bytes behind the first of `sources` that gives them; redirects are followed, without the headers.

    Raises:
        Missing, Forbidden: no source has them, or none gives them to us.
        TransferError: no source gives them, or there are more than `most`.
        Cancelled.
    """
    failures: list[TransferError] = []
    for source in sources:
        try:
            return retried(partial(_read, source, most, client), patience or Patience(), cancelled)
        except TransferError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    kinds = {type(failure) for failure in failures}
    raise (kinds.pop() if len(kinds) == 1 else TransferError)("; ".join(map(str, failures)))


def _read(source: Source, most: int, client: httpx.Client) -> bytes:
    try:
        with client.stream(
            "GET", source.url, headers=dict(source.headers()), auth=source.auth, follow_redirects=True
        ) as response:
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > most:
                    raise TransferError(f"{source.host} sends more than the {most} bytes that were expected")
            if response.status_code == 404:
                raise Missing(f"{source.host} has no {source.url}")
            words = " ".join(data[:200].decode(errors="replace").split())
            if response.status_code in (401, 403):
                raise Forbidden(str(refusal_of(response, source.host, words)))
            if response.status_code != 200:
                raise refusal_of(response, source.host, words)
            return bytes(data)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise failure_of(error, source.host) from error
