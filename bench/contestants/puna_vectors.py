"""Puna's collections, for `python -m bench vectors`: table, index and search of `puna search --mode vector`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version

import numpy as np

from puna.rag import Collections, Document, Passage, Pin

BATCH = 5000  # vectors of one commit


def main(vectors: str, queries: str, top: int) -> None:
    """Build, tell how long it took, then answer all queries each time a line comes."""
    data, asked = np.load(vectors), np.load(queries)
    with tempfile.TemporaryDirectory() as folder:
        collections = Collections(folder)
        began = time.perf_counter()
        collection = collections.open(collections.create("bench", Pin("random", "", "", data.shape[1])))
        for start in range(0, len(data), BATCH):
            part = data[start : start + BATCH]
            passages = [Passage(f"passage {start + index}") for index in range(len(part))]
            collection.put([(Document(str(start), str(start)), passages, part)])
        stored = time.perf_counter() - began
        collection.tidy()
        told = {"seconds": time.perf_counter() - began, "stored": stored, "version": f"LanceDB {version('lancedb')}"}
        print(json.dumps(told), flush=True)
        for _ in sys.stdin:
            times, found = [], []
            for vector in asked:
                began = time.perf_counter()
                hits = collection.search("", vector, mode="vector", limit=top)
                times.append(time.perf_counter() - began)
                found.append([int(hit.document) + hit.ordinal for hit in hits])
            print(json.dumps({"times": times, "found": found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
