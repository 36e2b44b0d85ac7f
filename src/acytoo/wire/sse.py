"""Server-sent events: bytes to the data of each event, and back.

The standard parses line by line and allows three line ends, comments and several data lines per event. Chat APIs
nearly always send single `data: ` lines, thousands per reply, and a chunk may end anywhere, even inside a line end.
So line ends are first made uniform (only if there is a CR), then the buffer is cut at its last blank line. The complete
part takes the cheapest of three paths: one event as it is, one `split` for a burst of single lines, or line by line.
What follows the last blank line is buffered. Each byte is copied at most twice and searched for its end once, so a
long event that arrives in tiny chunks costs linear time; its size is limited (`wire/limits.py`).

Source: the WHATWG HTML standard, "Server-sent events", parsing an event stream. Events are decoded without their names:
the data of every chat API names its own type. Only the data of an `error` event may be anything, because proxies and
frameworks send these. For data that is not an API's, `name_of` finds the name again.
"""

from __future__ import annotations

import re
from contextlib import suppress

from acytoo.wire.limits import check_elements, check_record_size

_BOM = b"\xef\xbb\xbf"


class SSEDecoder:
    """An incremental decoder: it returns the data of each event that a chunk completes."""

    __slots__ = ("_blocks", "_buffer", "_names", "_skip_lf", "_started")

    def __init__(self) -> None:
        self._blocks = b""  # the events of the last chunk, until someone asks for a name
        self._names: dict[bytes, bytes] = {}  # of these events, by their data, from then on
        self._buffer = bytearray()
        self._skip_lf = False
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of every event that this chunk completes, in order. Events without data are skipped."""
        # `find` and not `in`, which first tries to take its operand for a number: that costs as much as all the rest.
        if self._skip_lf or chunk.find(b"\r") >= 0:
            chunk = self._normalize(chunk)
        if not self._started and not self._buffer and chunk and chunk[0] != _BOM[0]:
            self._started = True
        if (self._buffer or not self._started) and not (chunk := self._complete(chunk)):
            return []
        if chunk.find(b"\n") == len(chunk) - 2 and chunk[-1:] == b"\n" and chunk[:6] == b"data: ":
            self._blocks = _UNNAMED
            return [chunk[6:-2]]  # a single event, the most frequent case
        end = chunk.rfind(b"\n\n")
        rest = chunk[end + 2 :] if end >= 0 else chunk
        if rest:
            check_record_size(len(rest))
            self._buffer += rest
        if end < 0:
            return []
        self._blocks = blocks = chunk[:end]
        return _records(blocks)

    def name_of(self, data: bytes) -> bytes:
        """Return the name of the event of the last chunk that has this data in one line, b"" for none."""
        if self._blocks:  # once for all events of a chunk, or the time would grow with the square of their number
            self._names, self._blocks = _names_in(self._blocks), b""
        return self._names.get(data, b"")

    @property
    def is_between_events(self) -> bool:
        """Whether nothing of an event is buffered, so that the next chunk begins one."""
        return self._started and not self._buffer and not self._skip_lf

    def close(self) -> list[bytes]:
        """Return the data of a last event that no blank line ended; a browser would discard it."""
        if not self._buffer:
            return []
        self._blocks = block = bytes(self._buffer)
        self._buffer = bytearray()
        check_elements(block)
        data = _data_of(block)
        return [] if data is None else [data]

    def _complete(self, chunk: bytes) -> bytes:
        """Return the buffer with the chunk if that completes an event; else buffer the chunk and return b""."""
        buffer = self._buffer
        seen = max(0, len(buffer) - 1)
        buffer += chunk
        if not self._started:
            if len(buffer) < 3 and _BOM.startswith(buffer):
                return b""
            self._started = True
            if buffer.startswith(_BOM):
                del buffer[:3]
        if buffer.find(b"\n\n", seen) < 0:
            check_record_size(len(buffer))
            return b""
        joined = bytes(buffer)
        buffer.clear()
        check_elements(joined)
        return joined

    def _normalize(self, chunk: bytes) -> bytes:
        """Return the chunk with LF for every line end. A CR at its end counts at once; its LF is skipped later."""
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if chunk[-1:] == b"\r":
            self._skip_lf = True
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


_UNNAMED = b"data:"
"""An event without a name."""


def _names_in(blocks: bytes) -> dict[bytes, bytes]:
    """Return the names of events by each line of their data that is not empty."""
    names: dict[bytes, bytes] = {}
    for block in blocks.split(b"\n\n"):
        lines = block.split(b"\n")
        name = next((line[6:].strip() for line in lines if line.startswith(b"event:")), b"")
        for line in lines:
            if line.startswith(b"data:") and (data := line[5:].strip()):
                names.setdefault(data, name)
    return names


def _records(blocks: bytes) -> list[bytes]:
    """Return the data of complete events; with one split if each is a single `data: ` line, as nearly always."""
    if blocks[:6] == b"data: ":
        records = blocks[6:].split(b"\n\ndata: ")
        if b"".join(records).find(b"\n") < 0:
            return records
    return [data for block in blocks.split(b"\n\n") if (data := _data_of(block)) is not None]


def _data_of(block: bytes) -> bytes | None:
    """Return the data lines of one event, joined; None if it has none.

    An `error:` line, which llama.cpp's server sent until September 2025, becomes data with an `error` field. JSON
    without a field is data too: servers end a stream with such an error. Sources: ggml-org/llama.cpp pull request
    16109, theopenco/llmgateway pull request 3616. An event with the name `error` becomes data with that field too if
    its own is text.
    """
    if block[:1] == b"{":
        return block
    event, mark, data = block.partition(b"\ndata: ")
    is_not_error = event[:6] == b"event:" and event[-1] not in b"r "  # `error` may have blanks after it
    if mark and is_not_error and event.find(b"\n") < 0 and data.find(b"\n") < 0:
        return data
    lines: list[bytes] | None = None
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
        elif line == b"data":
            value = b""
        elif line.startswith(b"error: {"):
            value = b'{"error":' + line[7:] + b"}"
        elif line.startswith(b'{"'):
            value = line
        else:
            continue
        if lines is None:
            lines = [value]
        else:
            lines.append(value)
    if lines is None:
        return None
    data = b"\n".join(lines)
    return _error_with(data) if _ERROR_EVENT.search(block) is not None else data


_ERROR_EVENT = re.compile(rb"^event: ?error *$", re.MULTILINE)


def _error_with(data: bytes) -> bytes:
    """Return the data of an `error` event: as it is if that is a JSON object or a list of them, else as its `error`."""
    if data.lstrip().startswith((b"{", b"[{")):
        return data
    import json  # slow to import, and rarely needed

    text = data.decode("utf-8", "replace")
    if text.lstrip()[:1] == '"':
        with suppress(ValueError):
            text = json.loads(text)
    return json.dumps({"error": text}).encode()


def sse(data: bytes, event: str = "") -> bytes:
    """Return one event as bytes. The data must not contain line breaks; JSON has none."""
    if event:
        return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
    return b"data: %b\n\n" % data


COMMENT = b": ping\n\n"
"""A comment that keeps an idle connection open; every client skips it."""
