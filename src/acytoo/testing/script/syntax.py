"""The command-line syntax of scripts, such as `reset:17`, `gzip+end:2t` or `status:429+retry-after:2`.

A script is a list of directives joined by `+`. At most one directive creates the response; the others change it, in
order. Each directive is a function, registered with an example of its use. Its converters parse the arguments when
the script is parsed, so that a mistake is reported before the server starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from acytoo.dialects.base import Dialect
from acytoo.errors import UsageError
from acytoo.testing.fakes.requests import ReceivedRequest
from acytoo.testing.script.responses import ScriptedResponse
from acytoo.types import Request

Converter: TypeAlias = Callable[[str], Any]
Function: TypeAlias = Callable[..., ScriptedResponse]


@dataclass(frozen=True)
class Exchange:
    """A received request, and the dialect in which it is answered."""

    received: ReceivedRequest
    dialect: Dialect

    @property
    def request(self) -> Request:
        """The decoded request."""
        return self.received.decode(self.dialect)


@dataclass(frozen=True)
class Directive:
    """One word of the syntax and the function behind it.

    The function gets an `Exchange` if the directive creates the response, else the response to change. The converted
    arguments follow.
    """

    example: str
    description: str
    function: Function
    converters: tuple[Converter, ...]
    creates_response: bool

    @property
    def name(self) -> str:
        """The word without arguments."""
        return self.example.partition(":")[0]

    def parse(self, text: str) -> ParsedDirective:
        """Parse one use of the directive. Raises UsageError for invalid arguments."""
        _, has_arguments, rest = text.partition(":")
        # The last argument keeps its colons: the location of a redirect has some.
        values = rest.split(":", max(0, len(self.converters) - 1)) if has_arguments else []
        try:
            if len(values) > len(self.converters):
                raise ValueError(rest)
            arguments = tuple(convert(value) for convert, value in zip(self.converters, values, strict=False))
            inspect.signature(self.function).bind(None, *arguments)
        except (TypeError, ValueError) as error:
            raise UsageError(f"invalid directive {text!r}: write it like {self.example}") from error
        return ParsedDirective(self, arguments)


@dataclass(frozen=True)
class ParsedDirective:
    """A directive with its converted arguments."""

    directive: Directive
    arguments: tuple[Any, ...] = ()

    def create(self, exchange: Exchange) -> ScriptedResponse:
        """Return the response to one request."""
        return self.directive.function(exchange, *self.arguments)

    def change(self, response: ScriptedResponse) -> ScriptedResponse:
        """Return a changed copy of the response."""
        return self.directive.function(response, *self.arguments)


@dataclass(frozen=True)
class ParsedScript:
    """A script for `FakeEndpoint`: called with a request, it returns the response."""

    dialect: Dialect
    creator: ParsedDirective
    changes: tuple[ParsedDirective, ...]

    def __call__(self, received: ReceivedRequest) -> ScriptedResponse:
        """Create the response and apply the changes in order."""
        response = self.creator.create(Exchange(received, self.dialect))
        for directive in self.changes:
            response = directive.change(response)
        return response


class ScriptSyntax:
    """The directives that a script may use; `default` names the one that creates the response if none does."""

    def __init__(self, default: str) -> None:
        self.default = default
        self.directives: dict[str, Directive] = {}

    def creates(self, example: str, description: str, *converters: Converter) -> Callable[[Function], Function]:
        """Register a function that creates a response."""
        return self._register(example, description, converters, creates_response=True)

    def changes(self, example: str, description: str, *converters: Converter) -> Callable[[Function], Function]:
        """Register a function that changes a response."""
        return self._register(example, description, converters, creates_response=False)

    def _register(
        self, example: str, description: str, converters: tuple[Converter, ...], *, creates_response: bool
    ) -> Callable[[Function], Function]:
        def register(function: Function) -> Function:
            directive = Directive(example, description, function, converters, creates_response)
            self.directives[directive.name] = directive
            return function

        return register

    def parse(self, text: str, dialect: Dialect) -> ParsedScript:
        """Parse directives joined by `+`. Raises UsageError for an unknown or invalid one."""
        creators: list[ParsedDirective] = []
        changes: list[ParsedDirective] = []
        for part in text.split("+"):
            name = part.partition(":")[0]
            if name not in self.directives:
                raise UsageError(f"unknown fault {name!r}: expected one of {', '.join(self.directives)}")
            directive = self.directives[name]
            (creators if directive.creates_response else changes).append(directive.parse(part))
        if len(creators) > 1:
            names = " and ".join(parsed.directive.name for parsed in creators)
            raise UsageError(f"{text!r} has more than one response ({names}): keep one of them")
        creator = creators[0] if creators else ParsedDirective(self.directives[self.default])
        return ParsedScript(dialect, creator, tuple(changes))
