"""Translate GBNF, the grammars of llama.cpp, to the Lark grammars of llguidance.

Source: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md and
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from acytoo.dialects.json import dumps
from acytoo.errors import UsageError

_MAX_CHARACTERS = 50_000
_MAX_REPETITIONS = 1_000
_MAX_DEPTH = 64
_MAX_GROUPS = 500
"""Rules and parentheses. llguidance overflows the stack at a few thousand that are inside of each other."""

_TOKENS = re.compile(
    r"""
    (?P<space>   [ \t\r\n]+ | \#[^\r\n]* )
  | (?P<rule>    [a-zA-Z0-9_-]+ (?= [ \t]* ::= ) )
  | (?P<is>      ::= )
  | (?P<name>    [a-zA-Z0-9_-]+ )
  | (?P<text>    " (?: [^"\\] | \\. )* " )
  | (?P<class>   \[ (?: [^\]\\] | \\. )* \] )
  | (?P<any>     \. )
  | (?P<repeat>  [*+?] | \{ [ \t]* [0-9]+ [ \t]* (?: , [ \t]* [0-9]* [ \t]* )? \} )
  | (?P<mark>    [()|] )
    """,
    re.VERBOSE | re.DOTALL,
)
_CHARACTER = r"\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\[nrt\"\\\[\]^-]|[^\\]"
_CHARACTERS = re.compile(_CHARACTER, re.DOTALL)
_RANGES = re.compile(f"({_CHARACTER})(?:-({_CHARACTER}))?", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def translate_grammar(grammar: object) -> str:
    """Return the Lark grammar for a GBNF grammar.

    Raises:
        UsageError: The grammar is invalid or too large.
    """
    if not isinstance(grammar, str) or len(grammar) > _MAX_CHARACTERS:
        raise UsageError(f"invalid grammar: expected a text of at most {_MAX_CHARACTERS:,} characters")
    tokens = list(_tokens(grammar))
    rules = [text for kind, text in tokens if kind == "rule"]
    if sum([kind == "rule" or text == "(" for kind, text in tokens]) > _MAX_GROUPS:
        raise UsageError(f"invalid grammar: the embedded model takes at most {_MAX_GROUPS} rules and parentheses")
    names = {text: f"r{index}" for index, text in enumerate(rules)}
    if len(names) < len(rules):
        raise UsageError("invalid grammar: two rules have the same name")
    for name in ["root", *(text for kind, text in tokens if kind == "name")]:
        if name not in names:
            raise UsageError(f"invalid grammar: it has no rule {name!r:.80}")
    lines = [" ".join(rule) for rule in _rules(tokens, names)]
    return "\n".join(["%llguidance {}", f"start: {names['root']}", *lines])


def _tokens(grammar: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(grammar):
        match = _TOKENS.match(grammar, position)
        if match is None or match.lastgroup is None:
            raise UsageError(f"invalid grammar: cannot read {grammar[position : position + 20]!r}")
        position = match.end()
        if match.lastgroup not in ("space", "is"):
            yield match.lastgroup, match[0]
    yield "end", ""


def _rules(tokens: list[tuple[str, str]], names: dict[str, str]) -> Iterator[list[str]]:
    """Yield the parts of each rule in Lark."""
    parts: list[str] = []
    depth = 0
    for kind, text in tokens:
        if not parts and kind != "rule":
            raise UsageError("""invalid grammar: it must begin with a rule, such as root ::= "yes" | "no\"""")
        if (kind in ("rule", "end") or text in ("|", ")")) and parts and parts[-1][-1] in ":|(":
            parts.append('""')  # an empty alternative
        if kind in ("rule", "end"):
            if depth:
                raise UsageError("invalid grammar: unbalanced parentheses")
            if parts:
                yield parts
            parts = [f"{names[text]}:"] if kind == "rule" else []
        elif kind == "repeat":
            if parts[-1][-1] in ":|(":
                raise UsageError(f"invalid grammar: nothing precedes the repetition {text!r}")
            parts[-2:] = [*parts[-2:-1], _repetition(parts[-1], text)]
        else:
            depth += (text == "(") - (text == ")") if kind == "mark" else 0
            if not 0 <= depth <= _MAX_DEPTH:
                raise UsageError(f"invalid grammar: parentheses are unbalanced, or nested more than {_MAX_DEPTH} times")
            parts.append(_translate(kind, text, names))


def _translate(kind: str, text: str, names: dict[str, str]) -> str:
    if kind == "name":
        return names[text]
    if kind == "text":
        return dumps("".join(chr(_code_point(match)) for match in _all(_CHARACTERS, text[1:-1]))).decode()
    if kind == "class":
        return _character_class(text[1:-1])
    return "/(?s:.)/" if kind == "any" else text


def _repetition(part: str, text: str) -> str:
    """Return the part with its repetition."""
    # A float, because int() refuses more than 4300 digits with a ValueError.
    if any(float(number) > _MAX_REPETITIONS for number in re.findall("[0-9]+", text)):
        raise UsageError(f"invalid grammar: it repeats something more than {_MAX_REPETITIONS:,} times")
    return part + re.sub(r"[ \t]", "", text)


def _all(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise UsageError(f"invalid grammar: unknown escape {text[position : position + 4]!r}")
        position = match.end()
        yield match[0]


def _code_point(character: str) -> int:
    if character[0] != "\\":
        code = ord(character)
    elif character[1] in "xuU":
        code = int(character[2:], 16)
    else:
        code = ord(_ESCAPES.get(character[1], character[1]))
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise UsageError(f"invalid grammar: {character!r} is not a character")
    return code


def _character_class(text: str) -> str:
    """Return the regular expression for the inside of a character class, such as `^a-z_`."""
    is_inverted = text.startswith("^")
    ranges: list[str] = []
    for item in _all(_RANGES, text[is_inverted:]):
        match = _RANGES.fullmatch(item)
        assert match is not None
        first, last = _code_point(match[1]), _code_point(match[2] or match[1])
        if first > last:
            raise UsageError(f"invalid grammar: the range {item!r} is reversed")
        ranges.append(f"\\x{{{first:x}}}-\\x{{{last:x}}}")
    if not ranges:
        raise UsageError("invalid grammar: an empty character class")
    return f"/[{'^' if is_inverted else ''}{''.join(ranges)}]/"
