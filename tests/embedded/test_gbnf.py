"""GBNF grammars in Lark."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.embedded.gbnf import translate_grammar
from acytoo.errors import UsageError


@pytest.mark.parametrize(
    ("grammar", "rules"),
    [
        ('root ::= "yes" | "no"', ['r0: "yes" | "no"']),
        ('root ::=\r\n\t"yes" |\n\t"no" # comment\n', ['r0: "yes" | "no"']),
        ('a-b ::= [a-z]+\nroot ::= a-b ("," a-b)*', ["r0: /[\\x{61}-\\x{7a}]/+", 'r1: r0 ( "," r0 )*']),
        (
            r'root ::= "\x41\n\"" [^"\\\x00-\x1F-] .',
            [r'r0: "A\n\"" /[^\x{22}-\x{22}\x{5c}-\x{5c}\x{0}-\x{1f}\x{2d}-\x{2d}]/ /(?s:.)/'],
        ),
        ('root ::= "a"{2, 30}  "b"{3} "c"{1,}', ['r0: "a"{2,30} "b"{3} "c"{1,}']),
        ('root ::= | ("a" | ) (|"b")', ['r0: "" | ( "a" | "" ) ( "" | "b" )']),
        ("root ::= x\nx ::=\ny ::= x", ["r0: r1", 'r1: ""', "r2: r1"]),
        (r"root ::= [\]\-a]", ["r0: /[\\x{5d}-\\x{5d}\\x{2d}-\\x{2d}\\x{61}-\\x{61}]/"]),
    ],
)
def test_a_grammar_is_translated_rule_by_rule(grammar: str, rules: list[str]) -> None:
    start = "r1" if grammar.startswith("a-b") else "r0"
    assert translate_grammar(grammar).split("\n") == ["%llguidance {}", f"start: {start}", *rules]


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ("", "no rule 'root'"),
        ('"yes" root ::= "no"', "must begin with a rule"),
        ('rot ::= "yes"', "no rule 'root'"),
        ("root ::= other", "no rule 'other'"),
        ('root ::= "a"\nroot ::= "b"', "same name"),
        ('root ::= ("a"', "unbalanced"),
        ('root ::= "a")', "unbalanced"),
        ('root ::= "a', "cannot read"),
        ("root ::= <think>", "cannot read"),
        ("root ::= *", "nothing precedes"),
        ('root ::= "a"{1001}', "repeats"),
        ('root ::= "a"{0,99999999999}', "repeats"),
        ('root ::= "a"{' + "1" * 5000 + "}", "repeats"),
        (r'root ::= "\q"', "unknown escape"),
        (r'root ::= "\uD800"', "not a character"),
        ("root ::= []", "empty character class"),
        ("root ::= [z-a]", "reversed"),
        ("root ::= " + "(" * 65 + '"a"' + ")" * 65, "nested"),
        ("root ::= " + '"a" ' * 50_000, "at most"),
        ("\n".join(["root ::= a0", *[f"a{rule} ::= (a{rule})" for rule in range(300)]]), "at most 500 rules"),
        (5, "expected a text"),
    ],
)
def test_an_invalid_or_too_large_grammar_is_an_error(grammar: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        translate_grammar(grammar)


@given(st.text(alphabet='root :=()|*+?{}[]^-"\\x01\n,#."a', max_size=80))
def test_any_text_is_translated_or_a_usage_error(text: str) -> None:
    try:
        lark = translate_grammar(f"root ::= {text}")
    except UsageError:
        return
    assert lark.startswith("%llguidance {}\nstart: r")
