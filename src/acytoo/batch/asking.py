"""Ask a provider for the complete reply to a row.

The problem: a batch has no use for the pieces of a reply, and waking up for each piece costs more than all the rest.
But proxies cut connections that are silent for long, and some models answer only in streams.

The strategy: rows are asked for as documents. After one that has taken long or timed out, all further rows are
streamed, and also if the model refuses a document and accepts a stream. A route is always asked for streams, because it
judges its targets by the time until a reply begins.
"""

from __future__ import annotations

import time

from acytoo.base_provider import legacy_error
from acytoo.batch.requests import Requests
from acytoo.batch.rows import Row
from acytoo.batch.scheduler import Answer, Ask
from acytoo.client import ReplyStream
from acytoo.dialects.quotas import Quota
from acytoo.errors import AcytooError, ReplyTooLargeError, RequestError, StatusError, TimedOutError
from acytoo.gateway.accounting import BYTES_PER_TOKEN
from acytoo.routing.reply import RoutedReply
from acytoo.routing.route import Route
from acytoo.types import Item, Reply, ReplySize, collect, has_content

_LONGEST_DOCUMENT = 25.0
"""Seconds that a document may take before further rows are streamed.

Proxies give up on a silent server after 29 s (Amazon's API Gateway), 60 s (nginx) or 100 s (Cloudflare).
"""

_WAIT_IN_TOKENS = 50
"""How many tokens a model is taken to generate in the time that it needs to begin."""


def asker(requests: Requests, longest_document: float = _LONGEST_DOCUMENT) -> Ask:
    """Return the function that sends the request of a row to the provider of `requests`.

    After a document that took more than `longest_document` seconds, rows are streamed.
    """
    return _Asker(requests, longest_document).ask


class _Asker:
    def __init__(self, requests: Requests, longest_document: float) -> None:
        provider = requests.provider
        self._requests = requests
        self._max_reply = provider.max_reply
        self._is_legacy = provider.is_legacy
        self._streams = provider.is_legacy or isinstance(provider, Route)
        self._longest_document = longest_document
        self._has_document = False

    async def ask(self, row: Row) -> Answer:
        """Return the answer to a row. Raises AcytooError."""
        if self._streams:
            return await self._read(row)
        started = time.monotonic()
        try:
            answer = await self._read(row, stream=False)
        except RequestError as error:
            if error.status != 400 or self._has_document:
                raise
        except AcytooError as error:
            if _is_timeout(error) or time.monotonic() - started > self._longest_document:
                self._streams = True
            raise
        else:
            self._has_document = True
            if time.monotonic() - started > self._longest_document:
                self._streams = True
            return answer
        # Some models answer only in streams, such as Qwen's that reason (Alibaba Cloud Model Studio's error codes:
        # "This model only support stream mode").
        answer = await self._read(row)
        self._streams = True
        return answer

    async def _read(self, row: Row, *, stream: bool = True) -> Answer:
        started = time.monotonic()
        first: float | None = None
        quotas: list[Quota] = []
        items: list[Item] = []
        size = ReplySize(self._max_reply)
        batches = self._requests.begin(row, stream=stream)

        def take(batch: list[Item]) -> bool:
            size.add(batch)
            items.extend(batch)
            return True

        try:
            async for batch in batches:
                take(batch)
                if first is None and has_content(batch):
                    first = time.monotonic() - started
                    if isinstance(batches, ReplyStream):
                        quotas = batches.quotas
                    if stream and isinstance(batches, (ReplyStream, RoutedReply)):
                        await batches.forward(take)  # no task is woken for the rest
        except ReplyTooLargeError as error:
            error.text = ""  # it would be held until the row is written
            raise
        except AcytooError:
            raise
        except Exception as error:
            if not self._is_legacy:
                raise
            raise legacy_error(error) from error
        finally:
            await batches.aclose()
        reply = collect(items)
        first_s = time.monotonic() - started if first is None else first
        if not stream:
            first_s *= _WAIT_IN_TOKENS / (_WAIT_IN_TOKENS + _output_tokens(reply))
        return Answer(reply, first_s, self._requests.data_of(row, reply), quotas)


def _is_timeout(error: AcytooError) -> bool:
    """Return whether the wait for a document was too long, here or at a proxy; 524 is Cloudflare's status for that."""
    if isinstance(error, TimedOutError):
        return error.phase != "connect"
    return isinstance(error, StatusError) and error.status in (504, 524)


def _output_tokens(reply: Reply) -> int:
    return reply.usage.output_tokens if reply.usage is not None else len(reply.text) // BYTES_PER_TOKEN
