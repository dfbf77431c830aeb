"""Nothing that the OpenAPI document allows, or does not, is answered by 500 or not at all.

In full: `python -m tests.server.fuzzing 2000`.
"""

from __future__ import annotations

from pathlib import Path

from tests.server.fuzzing import Fuzzer, fuzzed_server


def test_requests_made_up_from_the_document_are_answered_or_refused(models: Path) -> None:
    with fuzzed_server(models) as url:
        fuzzer = Fuzzer(url)
        fuzzer.run(120)
        assert fuzzer.failures == []
    answered = {operation for operation, status in fuzzer.seen if status == 200}
    assert len(answered) >= 12, "too little of what is sent is right"
