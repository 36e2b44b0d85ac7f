"""What leaves of a response that passes through, chunk by chunk, while a reader reads it along.

The problem: the bytes should leave as they are, but an error before the first content should be reported with a status,
a document only when it is complete, and no error of the backend may show a secret to a client.

The strategy: one class for each kind of response. A stream is decoded up to its first content and only scanned from
there. The cost: one scan of each chunk for its records.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from acytoo.dialects.base import Reader, Writer
from acytoo.errors import AcytooError, ProtocolError, StatusError
from acytoo.record_redactor import RecordRedactor
from acytoo.redactor import Redactor
from acytoo.secret import Secret, shows_secret
from acytoo.types import Item, has_content
from acytoo.wire.records import Framing, RecordBuffer, split_records


class Passage:
    """What leaves of a response that is passed through, and what was read along."""

    failure: AcytooError | None = None
    """The error in the chunk that was read last."""
    text: bytes | bytearray = b""
    """The text so far, as far as it is known."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        """What reads the response along."""

    def read(self, chunk: bytes) -> bytes:
        """Return what leaves after this chunk. An error in it is kept as `failure`."""
        data = b""
        try:
            data = self._read(chunk)
            self.failure = self.reader.pending_error
        except AcytooError as error:
            self.failure = error
        return data

    def _read(self, chunk: bytes) -> bytes:
        raise NotImplementedError

    def flush(self) -> bytes:
        """Return what leaves after the body has ended, before it is known whether the reply is complete."""
        self.reader.flush()
        return b""

    def end(self) -> bytes:
        """Return what leaves at the end of a complete reply."""
        return b""


_MAX_UNSEARCHED = 64 * 1024
"""Bytes of a document that are searched for secrets in one go. With many more that would hold up everybody."""


class PassingDocument(Passage):
    """A reply that is one document, or a stream that nobody has asked for. It leaves when it is complete."""

    def __init__(self, reader: Reader, framing: Framing, redactor: Redactor) -> None:
        super().__init__(reader)
        self._redactor = RecordRedactor(redactor, framing)
        self._records = RecordBuffer(framing)
        self._unsearched = bytearray()
        self._body = bytearray()
        self._is_long = False

    def _read(self, chunk: bytes) -> bytes:
        self.reader.scan(chunk)
        self._unsearched += chunk
        if len(self._unsearched) > _MAX_UNSEARCHED:
            self._is_long = True
            self._body += self._redactor.redact(self._records.feed(bytes(self._unsearched)))
            self._unsearched.clear()
        return b""

    def end(self) -> bytes:
        rest = bytes(self._unsearched)
        if self._is_long:
            rest = self._records.feed(rest) + self._records.flush()
        return b"".join([self._body, self._redactor.redact(rest), self._redactor.flush()])


class RenderedDocument(Passage):
    """A document that answers a request for a stream. It leaves as a stream."""

    def __init__(self, reader: Reader, redactor: Redactor, writer: Writer) -> None:
        super().__init__(reader)
        self._redactor = redactor
        self._writer = writer
        self.text = bytearray()

    def _read(self, chunk: bytes) -> bytes:
        return self._render(self.reader.feed(chunk))

    def flush(self) -> bytes:
        return self._render(self.reader.flush()) + self._write(self._redactor.flush())

    def end(self) -> bytes:
        return self._writer.end()

    def _render(self, batch: list[Item]) -> bytes:
        return self._write(self._redactor.redact(batch))

    def _write(self, batch: list[Item]) -> bytes:
        texts = "".join([item for item in batch if type(item) is str])
        self.text += texts.encode("utf-8", "surrogatepass")
        return self._writer.write(batch) if batch else b""


class PassingStream(Passage):
    """A stream. What precedes its first content is held back, so that an error there can be reported with a status.

    Only complete records leave, so that each can be searched for secrets. Nearly all of them have only text, and
    nothing is as frequent: they are searched for long secrets alone. A short one may be a word of the reply.

    A record that reports an error stays here, and so does what follows it: the caller reports the error, in the one way
    that all clients of the API recognise. If the reply fails for another reason, the record stays that would hide it.
    """

    def __init__(
        self,
        reader: Reader,
        framing: Framing,
        redactor: Redactor,
        all_secrets: Callable[[], list[Secret]],
        new_reader: Callable[[], Reader],
        last_record: bytes | None,
    ) -> None:
        super().__init__(reader)
        self._new_reader = new_reader
        self._last_record = last_record
        self._framing = framing
        self._redactor = RecordRedactor(redactor, framing)
        self._all_secrets = all_secrets
        self._records = RecordBuffer(framing)
        self._held = b""
        self._is_begun = False

    def read(self, chunk: bytes) -> bytes:
        try:
            if self._is_begun:
                self.reader.scan(chunk)
            else:
                self._read_start(chunk)
            self.failure = self.reader.pending_error
        except AcytooError as error:
            self.failure = error
        data = self._records.feed(chunk)
        if self.failure is not None:
            data += self._records.flush()
        if not self._is_begun:
            self._held += data
            return b""
        if self._held:
            data, self._held = self._held + data, b""
        return self._without_secrets(data)

    def _without_secrets(self, data: bytes) -> bytes:
        if self.failure is not None:
            secrets = self._all_secrets()
            records = split_records(self._redactor.flush() + data, self._framing)
            before = itertools.takewhile(lambda record: not self._hides_error(record), records)
            return b"".join([r for r in before if not shows_secret(r.decode("utf-8", "replace"), secrets)])
        return self._redactor.redact(data)

    def _hides_error(self, record: bytes) -> bool:
        """Return whether a record reports an error by itself, ends the stream for clients or breaks them."""
        if record.strip() == self._last_record:
            return True
        reader = self._new_reader()
        try:
            reader.scan(record)
            reader.flush()
        except StatusError as error:
            return is_reported(error)
        except ProtocolError:
            return b"{" not in record  # else only one that precedes it may be missing
        except AcytooError:
            return False
        return is_reported(reader.pending_error)

    def _read_start(self, chunk: bytes) -> None:
        # The official SDKs repeat a request for which they get a status, but not one that fails in its stream. Only the
        # pieces up to the first content are decoded, because that costs more than scanning.
        while chunk and not self._is_begun and self.reader.pending_error is None:
            self._is_begun = has_content(self.reader.feed(chunk[:_FIRST_PIECE])) or len(self._held) > _MAX_HELD
            chunk = chunk[_FIRST_PIECE:]
        if chunk and self.reader.pending_error is None:
            self.reader.scan(chunk)
        if self._is_begun:
            self.reader = self.reader.current

    def flush(self) -> bytes:
        return super().flush() + self._redactor.flush()

    def end(self) -> bytes:
        return self._without_secrets(self._held + self._records.flush()) + self._redactor.flush()


def is_reported(error: AcytooError | None) -> bool:
    """Return whether a backend has reported an error as its API does, in place of the rest of the reply.

    A finish reason that stands for a failure is not such a report: the official SDKs know of no error then.
    """
    return isinstance(error, StatusError) and error.body != ""


_FIRST_PIECE = 512
"""Bytes of a stream that are decoded at once to find its first content."""

_MAX_HELD = 256 * 1024
"""Bytes that may precede the first content of a stream before they leave without it."""
