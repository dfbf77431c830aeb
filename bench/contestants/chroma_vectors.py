"""Chroma's embedded vector store, for `python -m bench vectors`; runs in any Python that has chromadb and numpy."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version

import chromadb
import numpy as np

BATCH = 5000


def main(vectors: str, queries: str, top: int) -> None:
    """Build, tell how long it took, then answer all queries each time a line comes."""
    data, asked = np.load(vectors), np.load(queries)
    with tempfile.TemporaryDirectory() as folder:
        client = chromadb.PersistentClient(folder, settings=chromadb.Settings(anonymized_telemetry=False))
        began = time.perf_counter()
        store = client.create_collection("bench", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
        for start in range(0, len(data), BATCH):
            part = data[start : start + BATCH]
            store.add(ids=[str(start + index) for index in range(len(part))], embeddings=part)
        print(
            json.dumps({"seconds": time.perf_counter() - began, "version": f"Chroma {version('chromadb')}"}), flush=True
        )
        for _ in sys.stdin:
            times, found = [], []
            for vector in asked:
                began = time.perf_counter()
                answer = store.query(query_embeddings=[vector], n_results=top, include=["distances"])
                times.append(time.perf_counter() - began)
                found.append([int(each) for each in answer["ids"][0]])
            print(json.dumps({"times": times, "found": found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
