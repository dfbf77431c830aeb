"""all-minilm through runtime, server, client libraries and command line, with no network and nothing in the store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import ollama
import openai
from langchain_ollama import OllamaEmbeddings
from numpy.typing import NDArray

from puna import LLM
from puna.runtime import EmbedRequest, Runtime
from puna.store import Store
from tests.minilm import needs_minilm
from tests.models.minilm_texts import TEXTS
from tests.models.test_encoders import minilm_golden

pytestmark = needs_minilm
CUT = len(TEXTS) - 1  # the text that is longer than the model's 256 tokens


def close(vectors: object) -> bool:
    found: NDArray[np.float64] = np.array(vectors, np.float64)
    return bool(np.abs(found - minilm_golden()[: len(found)]).max() < 1e-4)


def test_a_runner_gives_sentence_transformers_vectors_and_says_what_it_cut(tmp_path: Path) -> None:
    with Runtime(Store(tmp_path), threads=1) as runtime:
        made = runtime.embed(EmbedRequest("all-minilm", TEXTS))
    assert close(made.vectors)
    assert made.truncated == (CUT,)
    assert made.prompt_tokens[CUT] == 256


def test_in_this_process_texts_that_begin_with_many_others_are_the_same_bits() -> None:
    with LLM("all-minilm", threads=2) as model:
        together = model.embed(list(TEXTS[:CUT]))
        assert close(together)
        assert np.array_equal(model.embed(TEXTS[3]), together[3])


def test_ollamas_openais_and_langchains_clients_embed_with_it(url: str, http: httpx.Client) -> None:
    texts = list(TEXTS)
    with ollama.Client(url) as client:
        assert close(client.embed(model="all-minilm", input=texts).embeddings)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as openais:
        made = openais.embeddings.create(model="all-minilm", input=texts)
        assert close([each.embedding for each in made.data])
    embeddings = OllamaEmbeddings(model="all-minilm", base_url=url)
    assert embeddings._client is not None
    with embeddings._client:  # it has no way to close what it opened
        assert close(embeddings.embed_documents(texts))
    assert http.post("/api/embed", json={"model": "all-minilm", "input": texts}).json()["truncated"] == [CUT]


def test_it_does_not_write_and_says_so(http: httpx.Client) -> None:
    reply = http.post("/api/generate", json={"model": "all-minilm", "prompt": "hello"})
    assert reply.status_code == 400
    assert "does not support generate" in reply.json()["error"]


def test_the_command_line_prints_the_vector() -> None:
    command = [sys.executable, "-m", "puna", "run", "all-minilm", TEXTS[0]]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert close([json.loads(ran.stdout)])
