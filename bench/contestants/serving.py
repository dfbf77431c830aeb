"""The child's side of the pipe: a request names one of the contestant's methods, the reply is what it returns.

{"do": "speed", "prompt": 512, "generated": 48}  ->  {"result": {"prefill": 330.1, ...}} or {"error": "..."}
Knows nothing of what is measured. The parent's side is `bench.process`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def serve(contestant: object) -> None:
    """Answer requests on stdin until it ends; what libraries print goes to stderr."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(_reply(contestant, json.loads(line))), file=replies, flush=True)


def _reply(contestant: object, request: dict[str, Any]) -> dict[str, Any]:
    try:
        method = getattr(contestant, request.pop("do"))
        return {"result": method(**request)}
    except Exception as error:  # whatever it is, the parent's report says it
        return {"error": f"{type(error).__name__}: {error}"}
