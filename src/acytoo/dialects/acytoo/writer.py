"""Replies of the Acytoo protocol: items to raw text."""

from __future__ import annotations

from acytoo.dialects.base import Writer
from acytoo.dialects.error_bodies import openai_error
from acytoo.errors import AcytooError
from acytoo.types import Item, JSONObject, Refusal


class StreamWriter(Writer):
    """A writer of raw text. The end of the body ends the reply, so only an aborted connection shows an error."""

    content_type = "text/plain; charset=utf-8"
    framing = "text"

    def write(self, items: list[Item]) -> bytes:
        """Encode the texts, and a refusal as text. The protocol has nothing else."""
        texts = [item.text if type(item) is Refusal else item for item in items]
        return "".join([text for text in texts if type(text) is str]).encode()

    def end(self) -> bytes:
        """Return nothing: the end of the body ends the reply."""
        return b""

    def fail(self, error: AcytooError) -> bytes:
        """Return nothing: only an aborted connection shows a client that the reply is cut."""
        return b""


def error_document(error: AcytooError) -> JSONObject:
    """Return the message both as `msg` and as `error.message`."""
    fields = openai_error(error)
    return {"error": {"message": fields["message"], "type": fields["type"]}, "msg": fields["message"]}
