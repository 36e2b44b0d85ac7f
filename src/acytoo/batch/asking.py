"""Ask a provider for the complete reply to a row."""

from __future__ import annotations

import time

from acytoo.batch.requests import Requests
from acytoo.batch.rows import Row
from acytoo.batch.scheduler import Answer, Ask
from acytoo.client import ReplyStream
from acytoo.dialects.quotas import Quota
from acytoo.errors import AcytooError, ReplyTooLargeError, ServerError
from acytoo.routing.reply import RoutedReply
from acytoo.types import Item, ReplySize, collect, has_content


def asker(requests: Requests) -> Ask:
    """Return the function that sends the request of a row to the provider of `requests`."""
    max_reply = requests.provider.max_reply
    is_legacy = requests.provider.is_legacy

    async def ask(row: Row) -> Answer:
        started = time.monotonic()
        first: float | None = None
        quotas: list[Quota] = []
        items: list[Item] = []
        size = ReplySize(max_reply)
        batches = requests.begin(row)

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
                    if isinstance(batches, (ReplyStream, RoutedReply)):
                        await batches.forward(take)  # no task is woken for the rest
        except ReplyTooLargeError as error:
            error.text = ""  # it would be held until the row is written
            raise
        except AcytooError:
            raise
        except Exception as error:
            if not is_legacy:
                raise
            raise ServerError(f"the legacy provider raised {type(error).__name__}") from error
        finally:
            await batches.aclose()
        reply = collect(items)
        return Answer(reply, time.monotonic() - started if first is None else first, requests.data_of(reply), quotas)

    return ask
