"""The faults of the scoreboard: what the endpoint does, and what a caller has to be told."""

from __future__ import annotations

from dataclasses import dataclass

from acytoo.testing import ScriptedResponse, garbage, hang_up, json_error, page, reply, silent, status
from acytoo.types import Finish, Start, Usage

WORDS = [f"word {number} " for number in range(20)] + ["é 世界 👩‍👩‍👧"]
TEXT = "".join(WORDS)
_WHOLE = reply(Start("id-1", "m-1", 7), *WORDS, Usage(9, 20), Finish("stop"))
_HALF = reply(Start("id-1", "m-1", 7), *WORDS[:8])


@dataclass(frozen=True)
class Fault:
    """`wanted` is what a caller must get: the "whole" reply, or an "error"; `raw`: whether raw text can have it."""

    answer: ScriptedResponse
    wanted: str
    raw: bool = True


FAULTS: dict[str, Fault] = {
    "none": Fault(_WHOLE, "whole"),
    "one byte at a time": Fault(_WHOLE.cut_bytes(1), "whole"),
    "gzip": Fault(_WHOLE.gzip(), "whole"),
    "closed before the answer": Fault(hang_up(), "error"),
    "no HTTP": Fault(garbage(), "error"),
    "silent from the start": Fault(silent(), "error"),
    "silent in mid-stream": Fault(_WHOLE.stall(after=8), "error"),
    "reset in mid-stream": Fault(_WHOLE.reset(after=8), "error"),
    "closed in mid-stream, in chunks": Fault(_WHOLE.close(after=8), "error"),
    "closed in mid-stream, with a length": Fault(_WHOLE.with_length().close(after=8), "error"),
    "closed in mid-stream, no length": Fault(_WHOLE.until_close().close(after=8), "error", raw=False),
    "ends in good order, no finish": Fault(_HALF.without_end(), "error", raw=False),
    "ends inside a record": Fault(_WHOLE.end(after_bytes=900), "error", raw=False),
    "error told in mid-stream": Fault(_WHOLE.fail("the model has failed", after=8), "error"),
    "gzip cut": Fault(_WHOLE.gzip().close(after_bytes=150), "error"),
    "200 with a JSON error": Fault(json_error("overloaded"), "error"),
    "200 with an HTML page": Fault(page(), "error"),
    "200 with an empty body": Fault(status(200, body=""), "error"),
    "400": Fault(status(400, "wrong field"), "error"),
    "401": Fault(status(401, "wrong key"), "error"),
    "429, wait 1 s": Fault(status(429, "slow down", retry_after=1), "error"),
    "500, HTML": Fault(page("Oops", 500), "error"),
    "503": Fault(status(503, "overloaded"), "error"),
}
