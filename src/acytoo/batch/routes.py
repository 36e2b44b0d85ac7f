"""OpenAI's Files and Batch APIs on a server: `/v1/files` and `/v1/batches`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import msgspec

from acytoo.batch.service import BatchService
from acytoo.dialects.fields import invalid
from acytoo.errors import RequestError
from acytoo.http import HTTPResponse
from acytoo.http1.head import HTTPError
from acytoo.server.control import ANYONE
from acytoo.server.request import BodyTooLargeError, Budget, BudgetError, IncomingRequest
from acytoo.server.response import json_response
from acytoo.server.router import PathRoute

MAX_FILE = 200 * 1024 * 1024
"""Bytes of an uploaded file, as OpenAI's API has it for batches."""

_MAX_UPLOADS = 512 * 1024 * 1024
_RECEIVE = 600.0
"""Seconds in which a file has to arrive."""


class _NewBatch(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None


class BatchExtension:
    """What makes a service a part of a server: its paths, and its beginning and end."""

    def __init__(self, service: BatchService) -> None:
        self._service = service

    def routes(self) -> Iterator[PathRoute]:
        """Yield the routes of files and batches."""
        handlers = _Handlers(self._service)
        yield PathRoute("POST", "/v1/files", handlers.upload)
        yield PathRoute("GET", "/v1/files", handlers.list_files)
        yield PathRoute("GET", "/v1/files/{model:.+}/content", handlers.content)
        yield PathRoute("GET", "/v1/files/{model:.+}", handlers.file)
        yield PathRoute("DELETE", "/v1/files/{model:.+}", handlers.delete)
        yield PathRoute("POST", "/v1/batches", handlers.create)
        yield PathRoute("GET", "/v1/batches", handlers.list_batches)
        yield PathRoute("POST", "/v1/batches/{model:.+}/cancel", handlers.cancel)
        yield PathRoute("GET", "/v1/batches/{model:.+}", handlers.batch)

    def start(self, url: str) -> None:
        """Go on with the batches that are not finished."""
        self._service.start(url)

    def stop(self) -> None:
        """Begin no further rows."""
        self._service.stop()

    async def close(self) -> None:
        """Wait until the rows in flight are written."""
        await self._service.close()


class _Handlers:
    """The handlers. The variable of a path is the request's `model`, whatever it names."""

    def __init__(self, service: BatchService) -> None:
        self._service = service
        self._uploads = Budget(_MAX_UPLOADS)

    async def upload(self, request: IncomingRequest) -> HTTPResponse:
        body = await self._body(request, MAX_FILE + 64 * 1024)
        fields = await asyncio.to_thread(_form_fields, request.headers.get("content-type", ""), body)
        file = fields.get("file")
        if file is None:
            raise invalid("the form has no file: send the fields file and purpose")
        purpose = fields.get("purpose", ("", b""))[1].decode("utf-8", "replace")
        if purpose != "batch":
            raise invalid(f"unknown purpose {purpose[:50]!r}: this server keeps files for batch")
        name, data = file
        stored = await asyncio.to_thread(self._service.files.save, _owner(request), name or "file", purpose, data)
        return json_response(stored.document())

    async def list_files(self, request: IncomingRequest) -> HTTPResponse:
        files = self._service.files.list(_owner(request), request.query.get("purpose", ""))
        return json_response(_page([file.document() for file in files], request.query))

    async def file(self, request: IncomingRequest) -> HTTPResponse:
        return json_response(self._service.files.get(request.model, _owner(request)).document())

    async def content(self, request: IncomingRequest) -> HTTPResponse:
        file = self._service.files.get(request.model, _owner(request))
        data = await asyncio.to_thread(self._service.files.path(file.id).read_bytes)
        return HTTPResponse(200, {"content-type": "application/octet-stream"}, data)

    async def delete(self, request: IncomingRequest) -> HTTPResponse:
        self._service.files.delete(request.model, _owner(request))
        return json_response({"id": request.model, "object": "file", "deleted": True})

    async def create(self, request: IncomingRequest) -> HTTPResponse:
        try:
            new = msgspec.json.decode(await self._body(request, 64 * 1024), type=_NewBatch)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise invalid(f"invalid batch: {error}") from error
        batch = self._service.create(
            _owner(request), new.input_file_id, new.endpoint, new.completion_window, new.metadata
        )
        return json_response(batch.document())

    async def list_batches(self, request: IncomingRequest) -> HTTPResponse:
        batches = self._service.list(_owner(request))
        return json_response(_page([batch.document() for batch in batches], request.query))

    async def batch(self, request: IncomingRequest) -> HTTPResponse:
        return json_response(self._service.get(request.model, _owner(request)).document())

    async def cancel(self, request: IncomingRequest) -> HTTPResponse:
        return json_response(self._service.cancel(request.model, _owner(request)).document())

    async def _body(self, request: IncomingRequest, limit: int) -> bytes:
        try:
            return await request.body(limit, _RECEIVE, self._uploads)
        except BodyTooLargeError as error:
            raise RequestError(
                f"the body is larger than {limit} bytes", status=413, code="request_too_large"
            ) from error
        except BudgetError as error:
            raise RequestError("too many files are arriving: try again later", status=503) from error
        except TimeoutError as error:
            raise RequestError("the file did not arrive in time", status=408) from error
        except HTTPError as error:
            raise invalid("the request body is corrupt") from error
        finally:
            request.release()


def _owner(request: IncomingRequest) -> str:
    caller = request.caller or ANYONE
    return caller.name


def _form_fields(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Return the file name and the bytes of each field of a form. Raises RequestError."""
    if not content_type.lower().startswith("multipart/form-data"):
        raise invalid(f"invalid content type {content_type[:100]!r}: send a file as multipart/form-data")
    head = b"content-type: " + content_type.encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"")
    message = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + b"\r\n\r\n" + body)
    fields: dict[str, tuple[str, bytes]] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            payload = part.get_payload(decode=True)
            fields[name] = (part.get_filename() or "", payload if isinstance(payload, bytes) else b"")
    return fields


def _page(documents: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page of a list, after the entry that `after` names."""
    ids = [document["id"] for document in documents]
    start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
    limit = int(query["limit"]) if query.get("limit", "").isdecimal() else 100
    page = documents[start : start + max(1, min(limit, 10_000))]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + len(page) < len(documents),
    }
