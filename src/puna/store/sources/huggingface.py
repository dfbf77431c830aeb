"""Repositories of the Hugging Face Hub: which files, which commit, where. `huggingface_hub` does the talking.

The bytes are fetched by `store/transfer`, not here. HF_ENDPOINT and PUNA_MIRRORS name other places to ask; a token goes
to the Hub itself or to HF_ENDPOINT, never to a mirror.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import httpx

from puna import paths
from puna.errors import ModelNotFound, TransferError
from puna.store import mirrors
from puna.store.sources.choosing import InRepository
from puna.store.sources.repository import MAX_FILES, RemoteFile, Repository, is_path
from puna.store.transfer import http
from puna.store.transfer.retrying import Patience, failure_of, refusal_of, retried
from puna.store.transfer.source import Source

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

HUB = "https://huggingface.co"
PATIENCE = 30.0  # seconds without a byte of an answer about a repository
MAX_ANSWER = 64 << 20  # bytes of one

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def endpoint() -> str:
    """Where the Hub is: HF_ENDPOINT, else huggingface.co; no slash at its end."""
    return (paths.HF_ENDPOINT.get() or HUB).rstrip("/")


def redirected() -> bool:
    """Whether the user has named another place than huggingface.co."""
    return endpoint() != HUB or bool(mirrors.mirrors_of("hf.co"))


def listing(origin: InRepository, cancelled: threading.Event, patience: Patience | None = None) -> Repository:
    """The files of a repository at the commit that its revision (main) stands for now.

    The first place that answers is believed; the files can be had from all of them.

    Raises:
        ModelNotFound: no such repository or revision, or it is private.
        TransferError: gated, or no place answers.
    """
    main = endpoint()
    places = (*mirrors.mirrors_of("hf.co"), main)
    failures: list[str] = []
    for place in places:
        ask = partial(_info, place, origin, _token() if place == main else None)
        try:
            info = retried(ask, (patience or Patience()).at_first, cancelled)
        except (ModelNotFound, TransferError) as error:
            if place == main and not failures:
                raise
            failures.append(str(error))
            continue
        return _repository(origin, info, places, main)
    raise TransferError("; ".join(failures))


def _repository(origin: InRepository, info: ModelInfo, places: tuple[str, ...], main: str) -> Repository:
    commit = info.sha if isinstance(info.sha, str) and _COMMIT.fullmatch(info.sha) else None
    # Without its commit, files of two revisions could be mixed: better the branch of one place alone.
    revision, places = (commit, places) if commit else (origin.revision or "main", places[:1])
    files = [
        file
        for sibling in (info.siblings or [])[:MAX_FILES]
        if (file := _file(origin, sibling, revision, places, main)) is not None
    ]
    return Repository(f"{origin.name.host}/{origin.repository}", revision, tuple(files))


def _file(
    origin: InRepository, sibling: RepoSibling, revision: str, places: tuple[str, ...], main: str
) -> RemoteFile | None:
    """None for an entry that is no file of a known size."""
    from huggingface_hub import hf_hub_url

    path, size = sibling.rfilename, sibling.lfs.size if sibling.lfs else sibling.size
    if not is_path(path) or not isinstance(size, int) or size < 0:
        return None
    sources = tuple(
        Source(
            hf_hub_url(origin.repository, path, revision=revision, endpoint=place),
            headers=_authorization if place == main else dict,
        )
        for place in places
    )
    return RemoteFile(
        path, size, _hex(sibling.lfs and sibling.lfs.sha256, _SHA256), sources, _hex(sibling.blob_id, _SHA1)
    )


def _hex(text: object, pattern: re.Pattern[str]) -> str | None:
    return text if isinstance(text, str) and pattern.fullmatch(text) else None


def _info(place: str, origin: InRepository, token: str | None) -> ModelInfo:
    """Ask one place about the repository. Raises also Unavailable."""
    from huggingface_hub import HfApi, constants, errors

    if constants.is_offline_mode():
        raise TransferError("HF_HUB_OFFLINE is set: the Hugging Face Hub is not asked")
    _speak_as_we_do()
    title = f"{origin.repository}{f'@{origin.revision}' if origin.revision else ''}"
    api = HfApi(endpoint=place, token=token or False, library_name="puna")
    try:
        return api.model_info(origin.repository, revision=origin.revision, timeout=PATIENCE, files_metadata=True)
    except errors.GatedRepoError:
        raise TransferError(
            f"{title} is gated: accept its conditions at {place}/{origin.repository}, then let HF_TOKEN hold your token"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelNotFound(f"{place}/{origin.repository} has no revision {origin.revision!r}") from None
    except errors.RepositoryNotFoundError:
        hint = "it may be private to others" if token else "if it is private, let HF_TOKEN hold your token"
        raise ModelNotFound(f"{place} has no model {title} ({hint})") from None
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise ModelNotFound(f"{place} does not show {title}: let HF_TOKEN hold a token that may read it") from None
        raise refusal_of(error.response, place) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise failure_of(error, place) from error
    except errors.HFValidationError as error:
        raise ModelNotFound(f"{title} is no name of a repository: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TransferError(f"{place} does not speak the Hub's API: {error!r}") from error


@functools.cache
def _speak_as_we_do() -> None:
    """The library's requests trust the certificates that ours trust, and wait no longer."""
    from huggingface_hub import set_client_factory

    set_client_factory(_client)


def _client() -> httpx.Client:
    client = http.client(stall=PATIENCE)
    client.follow_redirects = True
    client.headers["Accept-Encoding"] = "identity"
    client.event_hooks = {"response": [_bound]}
    return client


def _bound(response: httpx.Response) -> None:
    """An answer is read whole by the library: it may not be endless, nor grow when it is unpacked."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise TransferError(f"{response.url.host} answers packed, though it was asked not to")
    response.stream = _Bounded(response)


class _Bounded(httpx.SyncByteStream):
    """The body of an answer, as long as it is no longer than MAX_ANSWER."""

    def __init__(self, response: httpx.Response) -> None:
        self._stream = response.stream
        self._host = response.url.host

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._stream, httpx.SyncByteStream)
        left = MAX_ANSWER
        for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise TransferError(f"{self._host} answers with more than {MAX_ANSWER} bytes")
            yield chunk

    def close(self) -> None:
        assert isinstance(self._stream, httpx.SyncByteStream)
        self._stream.close()


def _token() -> str | None:
    """HF_TOKEN, or what `hf auth login` saved."""
    from huggingface_hub import get_token

    return paths.HF_TOKEN.get() or get_token()


def _authorization() -> Mapping[str, str]:
    token = _token()
    return {"Authorization": f"Bearer {token}"} if token else {}
