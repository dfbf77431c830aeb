"""Directories and environment variables, all in one table; nothing else in the package reads the environment.

Ollama's names are honoured where Puna's own is not set, so that an existing setup works unchanged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from puna.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting: the first of `names` that is set wins."""

    names: tuple[str, ...]
    meaning: str

    def get(self) -> str | None:
        """The value, stripped of blanks and quotes; None when unset or empty."""
        for name in self.names:
            value = os.environ.get(name, "").strip().strip("\"'")
            if value:
                return value
        return None


HOST = Variable(("PUNA_HOST", "OLLAMA_HOST"), "address the server binds and the client calls (127.0.0.1:11434)")
API_KEY = Variable(("PUNA_API_KEY",), "Bearer key the server asks for and the client sends")
MODELS = Variable(("PUNA_MODELS", "OLLAMA_MODELS"), "folder of the model store (~/.ollama/models)")
DATA = Variable(("PUNA_DATA",), "folder of the API keys and of what each has used")
COLLECTIONS = Variable(
    ("PUNA_COLLECTIONS",), "where collections of documents are: a folder, or an address like s3://bucket/path"
)
CACHE = Variable(("PUNA_CACHE",), "folder of compiled kernels and other things that can be made again")
ISA = Variable(
    ("PUNA_ISA",),
    "instruction set of the kernels: avx512vnni, avxvnni, avx2, i8mm, neon or portable (the best this CPU has)",
)
THREADS = Variable(("PUNA_THREADS",), "threads of a runner (the number of physical cores)")
KEEP_ALIVE = Variable(("PUNA_KEEP_ALIVE", "OLLAMA_KEEP_ALIVE"), "how long an idle model stays loaded (5m)")
CONTEXT_LENGTH = Variable(("PUNA_CONTEXT_LENGTH", "OLLAMA_CONTEXT_LENGTH"), "default context in tokens (8192)")
KV_CACHE_TYPE = Variable(("PUNA_KV_CACHE_TYPE", "OLLAMA_KV_CACHE_TYPE"), "type of the KV cache: f16 or q8_0 (f16)")
NUM_PARALLEL = Variable(("PUNA_NUM_PARALLEL", "OLLAMA_NUM_PARALLEL"), "sequences a runner decodes at once (8)")
MAX_LOADED_MODELS = Variable(("PUNA_MAX_LOADED_MODELS", "OLLAMA_MAX_LOADED_MODELS"), "models kept loaded at once (3)")
MAX_QUEUE = Variable(("PUNA_MAX_QUEUE", "OLLAMA_MAX_QUEUE"), "requests a server holds at once before it says 503 (512)")
PREFIX_CACHE = Variable(
    ("PUNA_PREFIX_CACHE",), "disk space for the prefix cache, such as 4GB; 0 keeps none on disk (4GB)"
)
ORIGINS = Variable(("PUNA_ORIGINS", "OLLAMA_ORIGINS"), "web origins allowed besides local ones, comma separated")
MIRRORS = Variable(
    ("PUNA_MIRRORS",), "where to pull from before a host itself, such as hf.co=https://hf-mirror.com;host=url,url"
)
CERTIFICATES = Variable(
    ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    "file of the certificates to trust when models are fetched (those of the system)",
)
DOCKER_CONFIG = Variable(("DOCKER_CONFIG",), "folder where `docker login` keeps passwords of registries (~/.docker)")
HF_ENDPOINT = Variable(("HF_ENDPOINT",), "address of the Hugging Face Hub (https://huggingface.co)")
HF_TOKEN = Variable(("HF_TOKEN",), "token for private and gated models on the Hub (the one its own tools saved)")
MODELSCOPE_ENDPOINT = Variable(
    ("MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN"), "address of ModelScope (www.modelscope.cn)"
)
MODELSCOPE_TOKEN = Variable(("MODELSCOPE_API_TOKEN",), "token for private models on ModelScope")

VARIABLES: tuple[Variable, ...] = (
    HOST, API_KEY, MODELS, DATA, COLLECTIONS, CACHE, ISA, THREADS, KEEP_ALIVE, CONTEXT_LENGTH, KV_CACHE_TYPE,
    NUM_PARALLEL, MAX_LOADED_MODELS, MAX_QUEUE, PREFIX_CACHE, ORIGINS, MIRRORS, HF_ENDPOINT, HF_TOKEN,
    MODELSCOPE_ENDPOINT, MODELSCOPE_TOKEN, CERTIFICATES, DOCKER_CONFIG,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, in the grammar of OLLAMA_HOST: `[scheme://][host][:port][/path]`."""

    scheme: str
    host: str
    port: int
    path: str  # "" or "/prefix", without a slash at its end

    @property
    def url(self) -> str:
        """As a client calls it: a server bound to every interface is called on the loopback one."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{self.path}"


def parse_address(text: str) -> Address:
    """Read PUNA_HOST's grammar; what is left out is that of `http://127.0.0.1:11434`. Raises InvalidRequest."""
    scheme, mark, rest = text.strip().rpartition("://")
    default_port = {"http": 80, "https": 443}.get(scheme) if mark else 11434
    if default_port is None:
        raise InvalidRequest(f"{text!r} is not a server address: its scheme must be http or https")
    if rest.count(":") > 1 and "[" not in rest:
        rest = f"[{rest}]"  # a bare IPv6 address
    try:
        parts = urlsplit("//" + rest)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is not a server address ([http://]host[:port][/path]): {error}") from None
    host = parts.hostname or "127.0.0.1"
    return Address(scheme or "http", host, default_port if port is None else port, parts.path.rstrip("/"))


def address() -> Address:
    """The server's address from the environment."""
    return parse_address(HOST.get() or "127.0.0.1")


def models_dir() -> Path:
    """Where models are kept: Ollama's own layout and default place."""
    return Path(MODELS.get() or Path.home() / ".ollama" / "models").expanduser()


def data_dir() -> Path:
    """Where things are kept that cannot be made again."""
    return Path(DATA.get() or platformdirs.user_data_dir("puna")).expanduser()


def accounts_file() -> Path:
    """Where the API keys and their usage are kept."""
    return data_dir() / "accounts.db"


def collections_place() -> str:
    """Where collections of documents are kept: a folder, or an object store's address."""
    given = COLLECTIONS.get()
    if given and "://" in given:
        return given
    return str(Path(given).expanduser() if given else accounts_file().parent / "collections")


def files_dir() -> Path:
    """Where a server keeps the files that its clients send."""
    return accounts_file().parent / "files"


def cache_dir() -> Path:
    """Where things are kept that can be made again."""
    return Path(CACHE.get() or platformdirs.user_cache_dir("puna")).expanduser()


def state_dir() -> Path:
    """Where the terminal chat keeps its input history."""
    return Path(platformdirs.user_state_dir("puna"))
