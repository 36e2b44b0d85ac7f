"""Readers of response bodies: one document, a stream of records, or whichever of the two it proves to be."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from acytoo.dialects.base import Dialect, Reader, not_this_api
from acytoo.dialects.error_bodies import error_words_of
from acytoo.dialects.json import UNDECODABLE, is_complete_json
from acytoo.dialects.surrogates import SurrogateJoiner, replace_lone_escapes
from acytoo.errors import AcytooError, ProtocolError, TruncatedError
from acytoo.types import Item

T = TypeVar("T")

MAX_BODY = 64 * 1024 * 1024
"""Bytes a reply that is one document may have."""


BOM = b"\xef\xbb\xbf"


class WholeReader(Reader):
    """A body that is one JSON document: read at its end."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._body = bytearray()

    def feed(self, chunk: bytes) -> list[Item]:
        """Nothing: the document is read at its end."""
        self._body += chunk
        if len(self._body) > MAX_BODY:
            raise ProtocolError(f"the reply is one document of more than {MAX_BODY // 2**20} MiB")
        return []

    def flush(self) -> list[Item]:
        """Every item of the document."""
        body = bytes(self._body).removeprefix(BOM).strip()
        if not body:
            raise TruncatedError("the server ended the reply without a single character")
        try:
            return self._read(body)
        except (msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
            raise not_this_api(self._dialect.name, body, str(error)) from error
        except msgspec.DecodeError as error:
            if body[:1] in (b"{", b"["):
                raise TruncatedError("the reply is a JSON document that was cut") from error
            raise not_this_api(self._dialect.name, body, str(error)) from error

    def _read(self, body: bytes) -> list[Item]:
        try:
            return self._dialect.read_reply(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            mended = replace_lone_escapes(body)
            if mended == body:
                raise
            return self._dialect.read_reply(mended)


class EitherReader(Reader):
    """A body of which only its start tells whether it is a document (`{`, `[`, `<`), an event stream, or neither."""

    def __init__(self, dialect: Dialect, stream: Reader) -> None:
        self._dialect = dialect
        self._stream = stream
        self._reader: Reader | None = None
        self._start = b""
        self._stray = b""

    def feed(self, chunk: bytes) -> list[Item]:
        """The items this chunk completes; nothing before the first character has come."""
        if self._reader is None and (chunk := self._chosen(chunk)) == b"":
            return []
        assert self._reader is not None
        items = self._reader.feed(chunk)
        self.pending_error = self._reader.pending_error
        return items

    def scan(self, chunk: bytes) -> None:
        """Read a chunk that is passed on."""
        if self._reader is None and (chunk := self._chosen(chunk)) == b"":
            return
        assert self._reader is not None
        self._reader.scan(chunk)
        self.pending_error = self._reader.pending_error

    def _chosen(self, chunk: bytes) -> bytes:
        """All that has come, once its start tells which reader is to have it; nothing before."""
        chunk = self._start = self._start + chunk
        start = chunk.removeprefix(BOM).lstrip()
        if (BOM.startswith(chunk) or any(field.startswith(start) for field in _FIELDS)) and len(chunk) < 1024:
            return b""
        self._reader = WholeReader(self._dialect) if start[:1] in (b"{", b"[", b"<") else self._stream
        if not start.startswith(_FIELDS) and b"data:" not in start:
            self._stray = start
        self._start = b""
        return chunk

    def flush(self) -> list[Item]:
        """The last items, once the body has ended."""
        return self._reader.flush() if self._reader else []

    def close(self) -> None:
        """Raises TruncatedError where the reply is not complete, ProtocolError where it did not begin as one."""
        try:
            (self._reader or self._stream).close()
        except TruncatedError as error:
            if self._stray:
                raise not_this_api(self._dialect.name, self._stray, str(error)) from error
            raise


_FIELDS = (b"data:", b"event:", b"retry:", b"id:", b":")
"""What an event stream begins with."""


class Decoder(Protocol):
    """Chunks to records."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The records this chunk completes."""

    def close(self) -> list[bytes]:
        """A last record whose end did not come."""


def bare_error(record: bytes) -> dict[str, Any] | None:
    """The document of a record that has nothing of a reply, where it is itself an error.

    So vLLM and LMDeploy tell errors, FastAPI's servers (`{"detail": …}`), and gateways in front of a server.
    """
    if not any(word in record for word in (b'"error"', b'"message"', b'"detail"', b'"msg"')):
        return None
    try:
        document = msgspec.json.decode(replace_lone_escapes(record))
    except UNDECODABLE:  # the fields that are read could be; another one is broken
        return None
    return document if error_words_of(document) is not None else None


class RecordReader(Reader):
    """A stream of records; a subclass reads them, and says when the reply is `complete` and by which `ending`."""

    ending: ClassVar[str]

    def __init__(self, name: str, decoder: Decoder) -> None:
        self._name = name
        self._decode_chunk = decoder.feed
        self._rest = decoder.close
        self._halves = SurrogateJoiner()

    @property
    def complete(self) -> bool:
        """Whether what says that the reply is whole has come."""
        raise NotImplementedError

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Add the items of some records. Raises as `feed`."""
        raise NotImplementedError

    def feed(self, chunk: bytes) -> list[Item]:
        """The items of every record that this chunk completes."""
        return self._taken(self._decode_chunk(chunk))

    def decode_unusual(self, record: bytes, type_: type[T]) -> T:
        """Decode a record that msgspec refused, for the one reason that can be repaired: a lone surrogate.

        Raises ProtocolError for any other reason.
        """
        try:
            return self._halves.decode(record, type_)
        except UNDECODABLE as error:
            raise not_this_api(self._name, record, str(error)) from error

    def scan(self, chunk: bytes) -> None:
        """Read those of the records that may tell a fault or the end."""
        if records := self.significant(self._decode_chunk(chunk)):
            self._taken(records)

    def significant(self, records: list[bytes]) -> list[bytes]:
        """Those of the records passed on that may tell a fault or the end; all of them where no glance shows it."""
        return records

    def flush(self) -> list[Item]:
        """The last record's items, where only its end is missing; half a record has none."""
        rest = self._rest()
        items = self._taken([record for record in rest if self.is_whole(record)]) if rest else []
        return items + self._halves.flush() if self.complete else items

    def close(self) -> None:
        """Raises TruncatedError where the reply is not complete."""
        if self.pending_error is not None:
            raise self.pending_error
        if not self.complete:
            raise TruncatedError(f"the stream ended without {self.ending}")

    def is_whole(self, record: bytes) -> bool:
        """Whether a last record without its end is to be read."""
        return is_complete_json(record)

    def _taken(self, records: list[bytes]) -> list[Item]:
        items: list[Item] = []
        try:
            self.read(records, items)
        except AcytooError as error:
            if not items:
                raise
            self.pending_error = error
        return self._halves.join(items) if self._halves.seen else items
