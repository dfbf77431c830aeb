"""HTTP calls to a server, and its errors as our own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

import httpx

from puna import paths
from puna.errors import InvalidRequest, ModelNotFound, PunaError, ServerUnreachable

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model in a server's memory, as `/api/ps` tells it."""

    name: str
    digest: str
    size: int  # bytes
    size_vram: int  # bytes of it on an accelerator
    context_length: int  # tokens
    expires_at: datetime | None  # when it is unloaded if nobody asks for it; None: never


class Client:
    """Calls the server at `address` (default: PUNA_HOST) with the Bearer key `api_key` (default: PUNA_API_KEY)."""

    def __init__(self, address: str | None = None, api_key: str | None = None) -> None:
        where = paths.parse_address(address) if address else paths.address()
        key = api_key or paths.API_KEY.get()
        self.url = where.url
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT_SECONDS,
        )

    def version(self) -> str:
        """The server's version."""
        return str(self._call("GET", "/api/version")["version"])

    def loaded(self) -> list[LoadedModel]:
        """The models in memory, the one that stays longest first."""
        models = self._call("GET", "/api/ps")["models"]
        if not isinstance(models, list):
            raise PunaError(f"the server at {self.url} answered /api/ps without a list of models")
        return [_loaded_model(model) for model in models]

    def stop(self, model: str) -> None:
        """Unload a model; an answer in progress is ended by the server as its own rules say.

        Raises ModelNotFound if the server has no model of that name.
        """
        self._call("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False})

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, object]:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise ServerUnreachable(
                f"no server answers at {self.url} ({error or type(error).__name__}); "
                "start one with `puna serve`, or set PUNA_HOST to where it runs"
            ) from None
        if response.is_error:
            raise _error(response, self.url)
        return _json_object(response, self.url)


def _json_object(response: httpx.Response, url: str) -> dict[str, object]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise PunaError(f"{url} is not a server of this API: {response.request.url.path} did not answer in JSON")
    return answer


def _error(response: httpx.Response, url: str) -> PunaError:
    """The error of a refused call: its type by the status, its text as the server wrote it."""
    try:
        message = str(response.json()["error"])
    except (ValueError, TypeError, KeyError):
        message = f"status {response.status_code} from {response.request.url}"
    if response.status_code == httpx.codes.NOT_FOUND:
        return ModelNotFound(message)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return InvalidRequest(f"the server at {url} asks for a key ({message}); set PUNA_API_KEY to it")
    if response.is_client_error:
        return InvalidRequest(message)
    return PunaError(f"the server at {url} failed: {message}")


def _loaded_model(model: Mapping[str, object]) -> LoadedModel:
    expires = str(model.get("expires_at") or "")
    return LoadedModel(
        name=str(model.get("name", "")),
        digest=str(model.get("digest", "")),
        size=int(str(model.get("size") or 0)),
        size_vram=int(str(model.get("size_vram") or 0)),
        context_length=int(str(model.get("context_length") or 0)),
        expires_at=datetime.fromisoformat(expires) if expires else None,
    )
