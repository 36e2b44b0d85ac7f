"""Markdown on the page: what is markup becomes an element, and no character of anything else is lost."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from tests.web.chat import Chat, answer
from tests.web.conftest import OpenChat, OpenSite

RENDER = """async ([text, sizes]) => {
    const { MarkdownView } = await import("/web/markdown.js");
    return sizes.map((size) => {
        const root = document.createElement("div");
        const view = new MarkdownView(root);
        for (let place = 0; place < text.length; place += size) view.write(text.slice(place, place + size));
        view.end();
        return root.innerHTML;
    });
}"""
"""Render a text that arrives in pieces of each of these sizes."""

PLAIN = [
    "list = [1, 2, 3]",
    "a[0] and a[i][j]",
    "the interval [0, 1) and [1",
    "see [1], [^2] and [RFC 9110]",
    "[ ] to do",
    "[a] (b) and [c]: d",
    "[a](b) and ![c](d) and ![e]",
    "[a](javascript:alert(1)) b",
    "[a](https://unfinished",
    "snake_case_name, x_1 + x_2, foo__bar__baz, größe_über_x",
    "_private_name and _",
    "_x and *y and **z and ~~w and `v",
    "echo $HOME, $x^2$ and $5",
    "~5 and ~6",
]
"""Texts without markup, or with some that the page does not render."""

MARKUP = {
    "**b** *i* _i_ __b__": "<strong>b</strong> <em>i</em> <em>i</em> <strong>b</strong>",
    "~~s~~ `c`": "<s>s</s> <code>c</code>",
    "***b*** a**b**c": "<strong><em>b</em></strong> a<strong>b</strong>c",
    "**snake_case_name**": "<strong>snake_case_name</strong>",
    "**a[0]** and [**b**]": "<strong>a[0]</strong> and [<strong>b</strong>]",
    "``a`b`` `c_d_e`": "<code>a`b</code> <code>c_d_e</code>",
    "[a_b_c](https://x/y_z) d": '<a href="https://x/y_z">a_b_c</a> d',
    "[a](https://x/y_(z)) (b)": '<a href="https://x/y_(z)">a</a> (b)',
    "[a](https://x) (b)": '<a href="https://x">a</a> (b)',
    '[a](https://x "A title") b': '<a href="https://x">a</a> b',
    "[a](<https://x/y>)": '<a href="https://x/y">a</a>',
    "(see https://x/y). b": '(see <a href="https://x/y">https://x/y).</a> b',
    "https://x/y_(z), b": '<a href="https://x/y_(z)">https://x/y_(z),</a> b',
    "![a](https://x/y.png)": '<a href="https://x/y.png">https://x/y.png</a>',
    "https://x/a_b_c d": '<a href="https://x/a_b_c">https://x/a_b_c</a> d',
}


def rendered(chat: Chat, texts: Iterable[str]) -> dict[str, set[str]]:
    """Return the elements of each text, which must not depend on the pieces it arrives in. Links have only a URL."""
    return {
        text: {
            re.sub(r' (rel|target)="[^"]*"', "", source)
            for source in chat.page.evaluate(RENDER, [text, [len(text), 1, 2, 3]])
        }
        for text in texts
    }


def test_a_text_that_is_not_markup_is_shown_with_all_its_characters(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer()).url)
    assert rendered(chat, PLAIN) == {text: {f"<p>{html.escape(text, quote=False)}</p>"} for text in PLAIN}


def test_markup_becomes_elements(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(answer()).url)
    assert rendered(chat, MARKUP) == {text: {f"<p>{elements}</p>"} for text, elements in MARKUP.items()}


def test_a_block_ends_what_is_open_in_it(open_site: OpenSite, open_chat: OpenChat) -> None:
    texts = {
        "a *b\n\nc* d": "<p>a *b</p><p>c* d</p>",
        "- a[0\n- b_c_d]": "<ul><li>a[0</li><li>b_c_d]</li></ul>",
        "# a_b [1]\n\nc": "<h1>a_b [1]</h1><p>c</p>",
        "`a\n\n- `b`": "<p>`a</p><ul><li><code>b</code></li></ul>",
    }
    assert rendered(open_chat(open_site(answer()).url), texts) == {text: {elements} for text, elements in texts.items()}
