"""The terminal with the extra `tui`: the editor, Markdown as it arrives, and what stays on the screen."""

from __future__ import annotations

import itertools
import re
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.testing import FakeEndpoint, raw, reply
from acytoo.types import Reasoning
from tests.processes import ACYTOO
from tests.terminal import CTRL_C, CTRL_D, Terminal, needs_terminal, paste

pytest.importorskip("rich", reason="needs the extra tui")
pytest.importorskip("prompt_toolkit", reason="needs the extra tui")

from acytoo.cli.tui.blocks import Block, BlockSplitter
from acytoo.cli.tui.markdown import LIVE_LINES, MarkdownView

PROMPT = "\x1b[0m>"
"""The beginning of the prompt: prompt_toolkit moves the cursor instead of writing a space."""
ALT_ENTER = "\x1b\r"
UP = "\x1b[A"
SAMPLE = """# Title

Some **bold** text
on two lines.

- one
- two
  - nested

  still two
- three

7. seven
8. eight

| a | b |
|---|---|
| 1 | 2 |

```python
def f():

    return "```"
```

    indented

> quoted
> text

***
Setext
======
The end."""


class Screen:
    """A terminal that knows only what the view may use: text, newlines, returns, moving up, erasing and colours."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = self.column = 0
        self.erased: set[int] = set()
        """The rows that were written more than once."""

    def write(self, output: str) -> None:
        for match in re.finditer(r"\x1b\[(\d*)([AKJm])|\n|\r|[^\x00-\x1f\x7f-\x9f]+|(?P<bad>.)", output):
            assert match["bad"] is None, f"unexpected {match['bad']!r}"
            if match[0] == "\n":
                self.row, self.column = self.row + 1, 0
                if self.row == len(self.lines):
                    self.lines.append("")
            elif match[0] == "\r":
                self.column = 0
            elif match[2] == "A":
                self.row -= int(match[1])
                assert self.row >= 0
            elif match[2] == "K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            elif match[2] == "J":
                self.lines[self.row] = self.lines[self.row][: self.column]
                del self.lines[self.row + 1 :]
            elif match[2] is None:
                line = self.lines[self.row]
                if line[self.column :]:
                    self.erased.add(self.row)
                self.lines[self.row] = line[: self.column] + match[0] + line[self.column + len(match[0]) :]
                self.column += len(match[0])

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def blocks_of(pieces: list[str]) -> list[Block]:
    splitter = BlockSplitter()
    return [block for piece in pieces for block in splitter.feed(piece)] + splitter.flush()


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted(cut % len(text) for cut in cuts), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places)]


@given(st.lists(st.integers(0, 10_000)))
def test_any_split_of_the_text_gives_the_same_blocks(cuts: list[int]) -> None:
    assert blocks_of(pieces_of(SAMPLE, cuts)) == blocks_of([SAMPLE])


@given(st.text(alphabet="ab *_`#>-=|~1.\n\t[]()!<&;\\", max_size=80), st.lists(st.integers(0, 10_000)))
@settings(max_examples=200)
def test_any_text_is_split_without_an_error_and_the_split_does_not_matter(text: str, cuts: list[int]) -> None:
    assert blocks_of(pieces_of(text, cuts) if text else []) == blocks_of([text])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\n\ntwo\n", [Block("one")]),
        ("one\n# two\n", [Block("one")]),
        ("one\ntwo\n", []),
        ("- a\n- b\n- c", [Block("- a")]),
        ("- a\n- b\n- c\n", [Block("- a"), Block("- b", True)]),
        (
            "text\n```py x\n1\n2\n3",
            [Block("text"), *[Block(s, n > 0, True, "py x", n) for n, s in enumerate(["1\n", "1\n2\n"])]],
        ),
        ("````\n```\n", [Block("```\n", False, True, "", 0)]),
        ("~~~\na\n~~~\nb\n\n", [Block("a\n", False, True, "", 0)]),
        ("|a|\n|-|\n|1|\n", []),
    ],
)
def test_a_block_is_finished_when_another_begins(text: str, expected: list[Block]) -> None:
    assert BlockSplitter().feed(text) == expected


def test_a_very_long_paragraph_is_emitted_before_its_end() -> None:
    assert BlockSplitter().feed("word\n" * 1_000)


def shown(pieces: list[str], capsys: pytest.CaptureFixture[str]) -> Screen:
    """Return the screen after the view has drawn after each piece."""
    view, screen = MarkdownView(), Screen()
    for piece in pieces:
        view.feed(piece)
        view.draw()
        screen.write(capsys.readouterr().out)
    view.finish()
    screen.write(capsys.readouterr().out)
    return screen


def test_the_screen_after_a_stream_is_the_one_after_a_single_piece(capsys: pytest.CaptureFixture[str]) -> None:
    at_once = shown([SAMPLE], capsys)
    assert shown(list(SAMPLE), capsys).text == at_once.text
    assert at_once.text.splitlines()[:9] == [
        "Title", "", "Some bold text", "on two lines.", "", " • one", " • two", "    • nested", "   still two",
    ]  # fmt: skip
    assert at_once.text.endswith("Setext\n\nThe end.\n")


@pytest.mark.parametrize(
    "text",
    ["a\n\nb", "- a\n\n- b\n\nc", "```\n\n\na\n\n```\nb", "x\n```\n```\ny", "```\nopen\n", "1\n\n\n\n2\n", "", "\n\n"],
)
def test_a_stream_leaves_no_trace_of_unfinished_lines(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(list(text), capsys).text == shown([text], capsys).text


def test_empty_lines_of_code_stay(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(["```\n\na\n\n\nb\n\n```\nend"], capsys).text == "\na\n\n\nb\n\n\nend\n"


def test_html_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(["<div>a</div>\n\nb <br> c"], capsys).text == "<div>a</div>\n\nb <br> c\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a ![sea](https://x/y.png) b", "a sea (https://x/y.png) b\n"),
        ("![](https://x/y.png)", "(https://x/y.png)\n"),
        ("[![sea](https://x/y.png)](https://z)", "sea (https://x/y.png) (https://z)\n"),
        ("a ![sea](data:image/png;base64,iVBORw0K) b", "a sea (data:image/png;base64,…) b\n"),
    ],
)
def test_an_image_is_shown_in_its_place_with_its_url(
    text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown([text], capsys).text == expected


@pytest.mark.parametrize(
    "text", ["&#27;[2J", "&#13;x", "<http://x/%1b[2J%07>", "[a](<http://x/%1b[2J>)", "`&#x9b;`", "&#x9b;2J"]
)
def test_markdown_cannot_encode_a_control_character(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown(list(text), capsys)  # the screen refuses every control character


@pytest.mark.parametrize("rows", [4, 24])
def test_only_the_last_lines_are_ever_written_again(
    rows: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", str(rows))
    monkeypatch.setenv("COLUMNS", "80")
    text = "".join(f"line {number} of one paragraph\n" for number in range(100))
    view, screen = MarkdownView(), Screen()
    for line in text.splitlines(keepends=True):
        view.feed(line)
        view.draw()
        screen.write(capsys.readouterr().out)
        assert len(screen.lines) <= min(LIVE_LINES, rows - 1)
    view.finish()
    screen.write(capsys.readouterr().out)
    assert screen.text == text


def test_long_lines_of_code_are_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    code = "x" * 300
    assert shown(["```\n", code[:200], code[200:], "\n```"], capsys).text == f"{code}\n"


def test_tabs_of_code_stay_but_never_make_a_live_line_longer_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    view = MarkdownView()
    view.feed("```make\n" + "\t" * 20 + "x")
    view.draw()
    live = capsys.readouterr().out
    assert "\t" not in live
    assert max(len(line) for line in re.sub(r"\x1b\[[\d;]*\w", "", live).splitlines()) < 40
    view.finish()
    assert "\t" * 20 + "x" in capsys.readouterr().out


def test_reasoning_is_shown_until_the_text_and_then_one_line_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    view, screen = MarkdownView(), Screen()
    for number in range(30):
        view.think(f"thought number {number} is a long one\n")
        view.draw()
        screen.write(capsys.readouterr().out)
        assert len(screen.lines) <= LIVE_LINES
    assert screen.lines[-1] == "thought number 29 is a long one"
    view.feed("The **answer**.")
    view.draw()
    view.think("an afterthought is not shown")
    view.draw()
    view.finish()
    screen.write(capsys.readouterr().out)
    assert screen.text == "(thought for 0 s; /reasoning shows it)\n\nThe answer.\n"


def test_a_reply_of_reasoning_alone_leaves_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    view, screen = MarkdownView(), Screen()
    view.think("only this")
    view.finish()
    screen.write(capsys.readouterr().out)
    assert screen.text == "(thought for 0 s; /reasoning shows it)\n"


def conversation(fake: FakeEndpoint, state: Path, *options: str, **env: str) -> Terminal:
    env = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "ACYTOO_STATE": str(state), **env}
    return Terminal([ACYTOO, "chat", "--url", fake.url, *options], env=env)


def sent(fake: FakeEndpoint) -> list[list[str]]:
    return [[message["content"] for message in request.json["messages"]] for request in fake.requests]


@needs_terminal
def test_enter_sends_and_the_reply_is_rendered(tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("**bo", "ld**\n\n- it", "em\n")) as fake,
        conversation(fake, tmp_path) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        shown = terminal.wait_for("item")
        assert "\x1b[1mbold\x1b[0m" in shown
        assert " • " in shown
        terminal.wait_for(PROMPT)
        terminal.press(CTRL_D)
        assert terminal.wait() == 0
    assert sent(fake) == [["first"]]


@needs_terminal
def test_a_message_may_have_several_lines(tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake,
        conversation(fake, tmp_path) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press(f"one{ALT_ENTER}two\\\rthree\r")
        terminal.wait_for("ok")
    assert sent(fake) == [["one\ntwo\nthree"]]


@needs_terminal
def test_lines_pasted_during_a_reply_are_one_message(tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("par", "tial", "never").stall(after=2), reply("again")) as fake,
        conversation(fake, tmp_path, "--timeout", "1") as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        terminal.wait_for("partial")
        terminal.press(paste(terminal, "second\rthird\r"))
        terminal.wait_for("third")
        terminal.press("\r")
        terminal.wait_for("again")
    assert sent(fake)[-1] == ["first", "partial", "second\nthird\n"]


@needs_terminal
def test_a_long_line_pasted_during_a_reply_is_complete(tmp_path: Path) -> None:
    line = "long " * 1000 + "end"
    with (
        FakeEndpoint(dialects.Acytoo(), reply("par", "tial", "never").stall(after=2), reply("again")) as fake,
        conversation(fake, tmp_path, "--timeout", "1") as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        terminal.wait_for("partial")
        terminal.press(paste(terminal, line))
        terminal.wait_for("end")
        terminal.press("\r")
        terminal.wait_for("again")
    assert sent(fake)[-1] == ["first", "partial", line]


@needs_terminal
def test_ctrl_c_stops_the_reply_and_keeps_what_was_received(tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("par", "tial", "never").stall(after=2), reply("again")) as fake,
        conversation(fake, tmp_path) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        terminal.wait_for("partial")
        terminal.press(CTRL_C)
        terminal.wait_for("(stopped)")
        fake.wait_disconnected()
        terminal.wait_for(PROMPT)
        terminal.press("second\r")
        terminal.wait_for("again")
    assert sent(fake)[-1] == ["first", "partial", "second"]


@needs_terminal
def test_ctrl_c_at_the_prompt_discards_the_line(tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake,
        conversation(fake, tmp_path) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press(f"unfinished{CTRL_C}")
        terminal.wait_for("/exit)")
        terminal.wait_for(PROMPT)
        terminal.press("complete\r")
        terminal.wait_for("ok")
    assert sent(fake) == [["complete"]]


@needs_terminal
def test_history_is_kept_across_runs_in_a_private_file(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        for keys in ("remember\\\rthis\r", f"{UP}\r"):
            with conversation(fake, state) as terminal:
                terminal.wait_for(PROMPT)
                terminal.press(keys)
                terminal.wait_for("ok")
                terminal.wait_for(PROMPT)
                terminal.press(CTRL_D)
                assert terminal.wait() == 0
    assert sent(fake) == [["remember\nthis"]] * 2
    assert stat.S_IMODE((state / "history").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@needs_terminal
@pytest.mark.parametrize(
    ("keys", "expected"), [("/mod\t", "/model"), ("/model embedded/sm\t", "embedded/smollm2-135m")]
)
def test_tab_completes_commands_and_models(keys: str, expected: str, tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake,
        conversation(fake, tmp_path) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press(keys)
        rest = expected.removeprefix(keys.rpartition(" ")[2].rstrip("\t"))
        terminal.wait_for(rest)


@needs_terminal
def test_tab_completes_the_models_that_the_server_lists(tmp_path: Path) -> None:
    body = b'{"data": [{"id": "first-one"}, {"id": "second-one"}]}'
    answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    with (
        FakeEndpoint(dialects.OpenAI(), answer) as fake,
        conversation(fake, tmp_path, "-m", "compatible/m1") as terminal,
    ):
        terminal.wait_for(PROMPT)
        assert not fake.requests
        terminal.press("/model compatible/sec\t")
        terminal.wait_for("ond-one")


@needs_terminal
def test_no_color_has_no_colours(tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("`code`\n\n```python\nx = 1\n```\n")) as fake,
        conversation(fake, tmp_path, NO_COLOR="1") as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        terminal.wait_for("x = 1")
    assert not re.search(r"\x1b\[[\d;]*(3[0-7]|9[0-7]|38|48)[\d;]*m", terminal.shown)


@needs_terminal
def test_control_characters_of_a_reply_never_reach_the_terminal(tmp_path: Path) -> None:
    with (
        FakeEndpoint(
            dialects.Acytoo(), reply("a\x1b]0;title\x07b\x9b31m\x00 `\x1b[2J`\n\n```\n\x1b[3J\n```\n", "end")
        ) as fake,
        conversation(fake, tmp_path) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        shown = terminal.wait_for("end")
    assert "a\ufffd]0;title\ufffdb" in shown
    assert not {"\x1b]0", "\x1b[2J", "\x1b[3J"} & {shown[i : i + n] for i in range(len(shown)) for n in (3, 4)}
    assert not {"\x07", "\x9b", "\x00"} & set(shown)


@needs_terminal
def test_edit_begins_the_prompt_with_the_last_message(tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("one"), reply("two")) as fake,
        conversation(fake, tmp_path) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        terminal.wait_for("one")
        terminal.wait_for(PROMPT)
        terminal.press("/edit\r")
        terminal.wait_for("/edit")
        terminal.wait_for("first")
        terminal.press("!\r")
        terminal.wait_for("two")
    assert sent(fake) == [["first"], ["first!"]]


@needs_terminal
def test_the_reasoning_of_the_last_reply_can_be_read(tmp_path: Path) -> None:
    thought = [Reasoning("First\x1b[2J "), Reasoning("this."), Reasoning("Then that.", index=1)]
    with (
        FakeEndpoint(dialects.OpenAI(), reply(*thought, "Done."), reply("Plain.")) as fake,
        conversation(fake, tmp_path, "-m", "compatible/m1") as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        terminal.wait_for("Done.")
        terminal.wait_for(PROMPT)
        terminal.press("/reasoning\r")
        terminal.wait_for("First\ufffd[2J this.")
        terminal.wait_for("Then that.")
        terminal.wait_for(PROMPT)
        terminal.press("second\r")
        terminal.wait_for("Plain.")
        terminal.wait_for(PROMPT)
        terminal.press("/reasoning\r")
        terminal.wait_for("(the last reply has no reasoning)")


@needs_terminal
def test_a_dumb_terminal_gets_plain_text(tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("**bold**")) as fake,
        conversation(fake, tmp_path, TERM="dumb") as terminal,
    ):
        terminal.wait_for("> ")
        terminal.press("first\n")
        terminal.wait_for("**bold**\n")
    assert "\x1b" not in terminal.shown


@needs_terminal
def test_ctrl_c_before_the_first_text_removes_the_turn(tmp_path: Path) -> None:
    with (
        FakeEndpoint(dialects.Acytoo(), reply("x").stall(after=0), reply("ok")) as fake,
        conversation(fake, tmp_path) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.press("first\r")
        while not fake.requests:
            time.sleep(0.01)
        terminal.press(CTRL_C)
        terminal.wait_for("(stopped)")
        terminal.wait_for(PROMPT)
        terminal.press("second\r")
        terminal.wait_for("ok")
    assert sent(fake)[-1] == ["second"]
