"""From a row to a call: prompt templates, columns, request options and OpenAI's Batch format."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.batch.rows import Row
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.json import UNDECODABLE, display_json
from acytoo.dialects.opaque import TranslatedAnswer, no_text_error
from acytoo.errors import InvalidReplyError, MissingExtraError, RequestError, UsageError
from acytoo.http import ServerRequest
from acytoo.settings import Settings
from acytoo.types import OPTIONS, Closable, Item, JSONObject, Reply, Request


class Template:
    """A text with columns in braces, such as `Summarise: {text}`. Double braces stand for single ones."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[tuple[str, str]] = []
        """Pieces of text, each with the column that follows it, "" after the last one."""
        try:
            for literal, column, format, conversion in string.Formatter().parse(text):
                if column is not None and (not column or format or conversion):
                    raise ValueError("expected the name of a column between braces")
                self._parts.append((literal, column or ""))
        except ValueError as error:
            raise UsageError(
                f"invalid prompt {text!r}: {error}; write {{name}} for a column, and {{{{ or }}}} for a brace"
            ) from error

    @property
    def columns(self) -> list[str]:
        """The columns that the text refers to."""
        return [column for _, column in self._parts if column]

    def fill(self, row: Row) -> str:
        """Return the text for a row. Raises UsageError if a column is missing."""
        texts: list[str] = []
        for literal, column in self._parts:
            texts.append(literal)
            if column:
                if column not in row.fields:
                    raise UsageError(f"row {row.number}: no column {column!r}: it has {_names(row.fields)}")
                texts.append(_as_text(row.fields[column]))
        return "".join(texts)


class Requests:
    """What the rows of a batch ask: the model, a template, a system prompt and request options for all of them.

    With a template, the fields of a row are only data. Without one, a row has `prompt` or `messages`, and may have
    request options and a `model` of its own (with `row_options`); or it is a request in OpenAI's Batch format. A
    schema is sent as `response_format`, and the replies are checked against it. With `writes_lines`, a reply of which
    its line in the output would have nothing is an error.
    """

    def __init__(
        self,
        provider: AsyncGeneratorProvider,
        *,
        model: str = "",
        prompt: str | None = None,
        system: str = "",
        schema: JSONObject | None = None,
        row_options: bool = True,
        writes_lines: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.provider = provider
        self._model = model or provider.model
        self._template = Template(prompt) if prompt is not None else None
        self._system = Template(system) if system and self._template is not None else system
        self._options = dict(options or {})
        self.has_row_options = row_options
        self._writes_lines = writes_lines
        self._drops = bool(self._options.get("drop_unsupported"))
        self._validate = validator(schema) if schema is not None else None
        if schema is not None:
            self._options["response_format"] = _response_format(schema)

    @property
    def columns(self) -> list[str]:
        """The columns that every row must have."""
        templates = [each for each in (self._template, self._system) if isinstance(each, Template)]
        return [column for template in templates for column in template.columns]

    def check_options(self) -> None:
        """Raise the error that every row would meet because of the options. A legacy provider checks its own."""
        if not self.provider.is_legacy:
            self.provider.begin(self._model or "any", [{"role": "user", "content": "Hello"}], dict(self._options))

    def unsupported(self) -> Unsupported:
        """Return what handles options that the API does not have."""
        hint = "leave it out, or drop_unsupported=True"
        return Unsupported(self.provider.address_name(), drop=self._drops, hint=hint)

    def data_of(self, row: Row, reply: Reply) -> Any:
        """Return the reply's text as JSON, None without a schema.

        Raises InvalidReplyError if it does not match it, NoTextError if it has only what a line has no field for.
        """
        if self._writes_lines and not (reply.text or reply.refusal):
            self._check_line(row, reply)
        if self._validate is None or reply.refusal:
            return None
        try:
            data = msgspec.json.decode(reply.text.encode("utf-8", "surrogatepass"))
        except UNDECODABLE as error:
            raise InvalidReplyError(f"the reply is not JSON: {error}", reply) from error
        self._validate(data, reply)
        return data

    def _check_line(self, row: Row, reply: Reply) -> None:
        """Raise NoTextError if the line of a reply without text would be empty."""
        if row.is_openai:
            answer = TranslatedAnswer(self.openai_request(row)[0])
            answer.add(reply.items())
            error = answer.error()
        else:
            hint = ", and a line of the output has only text"
            error = None if reply.tool_calls else no_text_error(reply.items(), hint)
        if error is not None:
            error.reply = reply
            raise error

    def begin(self, row: Row, *, stream: bool = True) -> Closable[list[Item]]:
        """Return the reply to a row, as batches of items. Raises UsageError if the row or its options are wrong."""
        is_openai = self._template is None and row.is_openai
        if stream and not is_openai:  # the only way of legacy providers
            return self.provider.begin(*self._call(row))
        request, settings = self._request(row, stream=stream)
        return self.provider.answer(request, settings, self.unsupported() if self._drops and is_openai else None)

    def single(self, row: Row) -> Request:
        """Return the request of a row, for a reply that is not streamed. Raises UsageError as `begin` does."""
        return self._request(row, stream=False)[0]

    def _request(self, row: Row, *, stream: bool) -> tuple[Request, Settings | None]:
        if self._template is None and row.is_openai:
            request, settings = self.openai_request(row)[1], None
        else:
            request, settings = self.provider.chat_request(*self._call(row))
        request.stream = stream
        return request, settings

    def _call(self, row: Row) -> tuple[str, Any, dict[str, Any]]:
        """Return the model, the messages and the options of a row."""
        options = dict(self._options)
        model = self._model
        if self._template is not None:
            messages: Any = [{"role": "user", "content": self._template.fill(row)}]
        else:
            messages, own = self._own(row)
            own_model = own.pop("model", "")
            model = self._model or own_model
            options |= own
        system = self._system.fill(row) if isinstance(self._system, Template) else self._system
        if system:
            messages = [{"role": "system", "content": system}, *messages]
        return model, messages, options

    def _own(self, row: Row) -> tuple[Any, JSONObject]:
        """Return the messages and the options that a row has itself."""
        fields = row.fields
        own: JSONObject = {}
        if self.has_row_options:
            own = {name: value for name, value in fields.items() if name in _ROW_OPTIONS and value is not None}
        if fields.get("messages") is not None:
            return fields["messages"], own
        prompt = fields.get("prompt")
        if isinstance(prompt, str):
            return [{"role": "user", "content": prompt}], own
        problem = "no prompt and no messages" if prompt is None else "its prompt must be text"
        raise UsageError(f"row {row.number}: {problem}: it has {_names(fields)}; --prompt makes one of its columns")

    def openai_request(self, row: Row) -> tuple[Dialect, Request]:
        """Return the request of a row in OpenAI's Batch format, and the API of its `url`. Raises UsageError."""
        url, body = row.fields.get("url"), row.fields.get("body")
        dialect = next((each for each in _openai_dialects() if url in each.routes), None)
        if dialect is None or row.fields.get("method", "POST") != "POST":
            raise UsageError(f"row {row.number}: expected method POST and one of the urls {', '.join(_openai_urls())}")
        if not isinstance(body, dict):
            raise UsageError(f"row {row.number}: its body must be an object")
        try:
            request = dialect.decode_request(ServerRequest(str(url), {}, msgspec.json.encode(body))).request
        except RequestError as error:
            raise UsageError(f"row {row.number}: {error.message}") from error
        model = self._model or request.model
        return dialect, msgspec.structs.replace(request, model=model) if model != request.model else request


def validator(schema: JSONObject) -> Callable[[Any, Reply], None]:
    """Return a function that raises InvalidReplyError unless a value matches a JSON schema.

    Raises MissingExtraError, and UsageError for an invalid schema.
    """
    try:
        import fastjsonschema
    except ImportError as error:
        raise MissingExtraError("checking replies against a schema", "schema") from error
    try:
        check = fastjsonschema.compile(schema, handlers=_NO_REMOTE_SCHEMAS, use_default=False)
    except Exception as error:  # of several libraries' classes
        raise UsageError(f"invalid schema: {error}") from error

    def validate(value: Any, reply: Reply) -> None:
        try:
            check(value)
        except fastjsonschema.JsonSchemaValueException as error:
            raise InvalidReplyError(f"the reply does not match the schema: {error.message}", reply) from error

    return validate


def _refuse_remote_schema(url: str) -> Any:
    raise UsageError(f"it refers to {url}: put that into the schema itself")


_NO_REMOTE_SCHEMAS = dict.fromkeys(("http", "https", "ftp", "file", ""), _refuse_remote_schema)


def _response_format(schema: JSONObject) -> JSONObject:
    title = schema.get("title")
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", title)[:64] if isinstance(title, str) and title else "reply"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


_ROW_OPTIONS = OPTIONS | {"model", "extra_body"}


def _openai_dialects() -> list[Dialect]:
    return [dialects.by_name("openai"), dialects.by_name("openai-responses")]


def _openai_urls() -> list[str]:
    return [each.routes[0] for each in _openai_dialects()]


def _names(fields: JSONObject) -> str:
    return ", ".join(list(fields)[:20]) or "no fields"


def _as_text(value: object) -> str:
    if value is None:  # as an empty cell of CSV
        return ""
    if isinstance(value, str):
        return value
    text = display_json(value)
    if not text.startswith('"'):
        return text
    plain: str = msgspec.json.decode(text)  # a date or a decimal number of Parquet
    return plain
