"""OpenAI's Files and Batch APIs on a server: `/v1/files` and `/v1/batches`.

A form is taken apart here and not by `email`, which holds each line of it as a string: a file of newlines would take
a hundred times its size, and minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any

import msgspec

from acytoo.batch.service import BatchService
from acytoo.dialects.fields import invalid
from acytoo.dialects.json import UNDECODABLE
from acytoo.errors import AuthenticationError, NotFoundError, RequestError
from acytoo.gateway.call import ADMIN
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

_MAX_FIELDS = 100
_MAX_FIELD_HEAD = 16 * 1024
"""Bytes of the headers of one field of a form."""

_MAX_BOUNDARY = 70
"""Characters; RFC 2046, section 5.1.1."""

_LONGEST_PAGE = 10_000


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
        owner = _owner(request)
        body = await self._body(request, MAX_FILE + 64 * 1024)
        fields = await asyncio.to_thread(form_fields, request.headers.get("content-type", ""), body)
        file = fields.get("file")
        if file is None:
            raise invalid("the form has no file: send the fields file and purpose")
        purpose = fields.get("purpose", ("", b""))[1].decode("utf-8", "replace")
        if purpose != "batch":
            raise invalid(f"unknown purpose {purpose[:50]!r}: this server keeps files for batch")
        name, data = file
        stored = await asyncio.to_thread(self._service.files.save, owner, name or "file", purpose, data)
        return json_response(stored.document())

    async def list_files(self, request: IncomingRequest) -> HTTPResponse:
        files = self._service.files.list(_owner(request), request.query.get("purpose", ""))
        return json_response(_page([file.document() for file in files], request.query))

    async def file(self, request: IncomingRequest) -> HTTPResponse:
        return json_response(self._service.files.get(request.model, _owner(request)).document())

    async def content(self, request: IncomingRequest) -> HTTPResponse:
        file = self._service.files.get(request.model, _owner(request))
        try:
            data = await asyncio.to_thread(self._service.files.path(file.id).read_bytes)
        except FileNotFoundError:  # deleted meanwhile
            raise NotFoundError(f"there is no file {file.id!r}", status=404, code="not_found_error") from None
        return HTTPResponse(200, {"content-type": "application/octet-stream"}, data)

    async def delete(self, request: IncomingRequest) -> HTTPResponse:
        self._service.files.delete(request.model, _owner(request))
        return json_response({"id": request.model, "object": "file", "deleted": True})

    async def create(self, request: IncomingRequest) -> HTTPResponse:
        owner = _owner(request)
        try:
            new = msgspec.json.decode(await self._body(request, 64 * 1024), type=_NewBatch)
        except UNDECODABLE as error:
            raise invalid(f"invalid batch: {error}") from error
        batch = self._service.create(owner, new.input_file_id, new.endpoint, new.completion_window, new.metadata)
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
    """Return the name that files and batches belong to. Raises AuthenticationError for the admin key, which has none.

    A key may have the name of the admin key, and must not see its files.
    """
    caller = request.caller or ANYONE
    if caller is ADMIN:
        raise AuthenticationError("the admin key has no files and no batches: use another key", status=403)
    return caller.name


def form_fields(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Return the file name and the bytes of each field of a form. Raises RequestError.

    Source: RFC 7578; RFC 2046, section 5.1.1. A transfer encoding is ignored, as RFC 7578 has it.
    """
    head = Message()
    head["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
    if head.get_content_type() != "multipart/form-data":
        raise invalid(f"invalid content type {content_type[:100]!r}: send a file as multipart/form-data")
    boundary = head.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise invalid(f"the content type has no boundary of 1 to {_MAX_BOUNDARY} characters")
    delimiter = b"\r\n--" + boundary.encode("utf-8", "replace")
    fields: dict[str, tuple[str, bytes]] = {}
    # The first delimiter may be the beginning of the body, without the newline.
    place = len(delimiter) - 2 if body.startswith(delimiter[2:]) else _find_delimiter(body, delimiter, 0)
    while not body.startswith(b"--", place):
        head_end = body.find(b"\r\n\r\n", place, place + _MAX_FIELD_HEAD)
        if head_end < 0:
            is_cut = len(body) - place < _MAX_FIELD_HEAD
            raise invalid(_CUT_FORM if is_cut else "the headers of a field of the form are too long")
        name, filename = _names_of(body[place:head_end])
        if name in fields:
            raise invalid(f"the form has the field {name[:50]!r} twice")
        place = _find_delimiter(body, delimiter, head_end + 2)
        fields[name] = filename, body[head_end + 4 : place - len(delimiter)]
        if len(fields) > _MAX_FIELDS:
            raise invalid(f"the form has more than {_MAX_FIELDS} fields")
    return fields


_CUT_FORM = "the form does not end with its boundary: it may have been cut"


def _find_delimiter(body: bytes, delimiter: bytes, start: int) -> int:
    """Return where the next delimiter ends. One that goes on is data. Raises RequestError if there is none."""
    while (start := body.find(delimiter, start)) >= 0:
        start += len(delimiter)
        if body[start : start + 2] in (b"--", b"\r\n"):
            return start
    raise invalid(_CUT_FORM)


def _names_of(head: bytes) -> tuple[str, str]:
    """Return the name of a field, and that of its file, which browsers and SDKs send as UTF-8."""
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            message = Message()
            message["content-disposition"] = value.strip()
            found = message.get_param("name", "", "content-disposition")
            return found if isinstance(found, str) else "", message.get_filename("")
    return "", ""


def _page(documents: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page of a list, after the entry that `after` names."""
    ids = [document["id"] for document in documents]
    start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
    given = query.get("limit", "")
    limit = 100 if not given.isdecimal() else int(given) if len(given) < 10 else _LONGEST_PAGE
    page = documents[start : start + max(1, min(limit, _LONGEST_PAGE))]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + len(page) < len(documents),
    }
