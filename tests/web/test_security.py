"""Nothing in a reply, an error, a name or an imported file runs in the page or loads anything from elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo.testing import reply, status
from acytoo.types import Finish, Reasoning, Start
from tests.web.chat import Chat
from tests.web.conftest import OpenChat, OpenSite

expect = pytest.importorskip("playwright.sync_api", reason="the extra dev has Playwright").expect

ELSEWHERE = "http://elsewhere.example"

PAYLOADS = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    f"<img src='{ELSEWHERE}/pixel.png'>",
    "<svg onload='window.hacked = 1'><animate onbegin='window.hacked = 1' attributeName=x dur=1s></svg>",
    f"<iframe src='{ELSEWHERE}'></iframe><object data='{ELSEWHERE}'></object><embed src='{ELSEWHERE}'>",
    "<iframe srcdoc='<script>parent.hacked = 1</script>'></iframe>",
    f"<link rel=stylesheet href='{ELSEWHERE}/a.css'><meta http-equiv=refresh content='0;url={ELSEWHERE}'>",
    f"<base href='{ELSEWHERE}'><form action='{ELSEWHERE}'><button autofocus onfocus='hacked=1'>x</button></form>",
    "<math><mtext><table><mglyph><style><img src onerror='window.hacked = 1'></style></mglyph></table></mtext></math>",
    "[click](javascript:window.hacked=1) [click](JaVaScRiPt:window.hacked=1) [click](\u0001javascript:window.hacked=1)",
    "[click](java\tscript:window.hacked=1) [click](&#106;avascript:hacked=1) [x]( javascript:hacked=1)",
    "[click](data:text/html,<script>parent.hacked=1</script>) [click](vbscript:x) [click](//elsewhere.example)",
    '[click](http://a"onmouseover="window.hacked=1) ![x](http://b"onerror="window.hacked=1)',
    f"![pixel]({ELSEWHERE}/pixel.png) ![x](javascript:window.hacked=1) ![x](data:image/svg+xml,<svg onload=hacked=1>)",
    "```html\n<script>window.hacked = 1</script>\n```",
    "```\"><img src=x onerror='window.hacked=1'>\ncode\n```",
    "| <img src=x onerror='window.hacked=1'> | b |\n|---|---|\n| <script>window.hacked=1</script> | x |",
    "<<script>script>window.hacked = 1<</script>/script> `<img src=x onerror='window.hacked=1'>`",
    "<details open ontoggle='window.hacked=1'><summary>x</summary></details><video><source onerror='hacked=1'>",
    "$$<img src=x onerror='window.hacked=1'>$$ \\(<script>window.hacked=1</script>\\)",
    "</div></article><script>window.hacked = 1</script>",
]

FOUND = """() => ({
    hacked: "hacked" in window,
    foreign: [...document.querySelectorAll(
        "script:not([src='/web/app.js']), iframe, object, embed, base, meta[http-equiv], svg, math, video, source,"
        + " style, link:not([href^='/web/']), #messages form, #messages img:not([src^='data:image/'])"
    )].map((element) => element.outerHTML),
    handlers: [...document.querySelectorAll("*")].flatMap((element) => [...element.attributes])
        .map((attribute) => attribute.name).filter((name) => name.startsWith("on")),
    links: [...document.querySelectorAll("#messages a[href]")].map((link) => link.protocol),
})"""


def assert_harmless(chat: Chat) -> None:
    """Check that nothing ran, no element of a payload exists and nothing was requested from another host."""
    for link in chat.page.locator("#messages a:not([href])").all():
        link.click()
    chat.page.mouse.move(200, 200)
    found: dict[str, Any] = chat.page.evaluate(FOUND)
    assert (found["hacked"], found["foreign"], found["handlers"]) == (False, [], [])
    assert set(found["links"]) <= {"http:", "https:", "mailto:"}
    assert not chat.strangers
    assert not chat.errors


@pytest.mark.parametrize("size", [None, 3])
def test_no_reply_runs_or_loads_anything(size: int | None, open_site: OpenSite, open_chat: OpenChat) -> None:
    scripts = []
    for payload in PAYLOADS:
        pieces = [payload[at : at + size] for at in range(0, len(payload), size)] if size else [payload]
        scripts.append(reply(Start("id-1", payload, 7), Reasoning(payload), *pieces, Finish("stop")))
    chat = open_chat(open_site(*scripts).url)
    for number, payload in enumerate(PAYLOADS):
        chat.ask(payload)
        expect(chat.button("Regenerate")).to_have_count(min(number + 1, 20))
        expect(chat.stop).to_be_hidden()
    for summary in chat.page.locator("#messages summary").all():
        summary.click()
    assert_harmless(chat)
    chat.reload()
    expect(chat.replies).to_have_count(20)
    assert_harmless(chat)


def test_no_error_or_model_name_or_title_runs(open_site: OpenSite, open_chat: OpenChat) -> None:
    everything = "".join(PAYLOADS)
    chat = open_chat(open_site(status(400, everything)).url)
    chat.prompts.append(everything)
    chat.page.get_by_label("Model").select_option(label="Other model …")
    chat.ask(everything)
    expect(chat.replies.locator(".cut")).to_contain_text("There is no reply.")
    expect(chat.conversations).to_have_count(1)
    assert_harmless(chat)


def node(**fields: Any) -> dict[str, Any]:
    """Return a message of an exported conversation."""
    return {"id": "n1", "conversation": "c1", "parent": None, "role": "assistant", "content": "x", "time": 1, **fields}


PAYLOAD = "".join(PAYLOADS)
HOSTILE_FILES: dict[str, Any] = {
    "payloads in every field": [
        node(
            id=PAYLOAD, content=PAYLOAD, reasoning=PAYLOAD, state=PAYLOAD, model=PAYLOAD, target=PAYLOAD, error=PAYLOAD,
            usage={"completion_tokens": PAYLOAD},
            trace=[{"target": PAYLOAD, "outcome": PAYLOAD, "seconds": 1}] * 2 + [None, 5],
            attempts=PAYLOAD, finish=PAYLOAD, seconds=PAYLOAD, time=PAYLOAD,
        )
    ],
    "images of another host": [node(role="user", images=[f"{ELSEWHERE}/a.png", "data:text/html,x", 7])],
    "a message that is its own parent": [node(parent="n1")],
    "messages in a circle": [node(parent="n2"), node(id="n2", parent="n1")],
    "a parent that is missing": [node(parent="n9")],
    "other types everywhere": [
        node(
            reasoning=[1], model={}, target=[], error={}, usage=7, trace={"target": 1}, images={}, seconds="x", time={},
            finish=[],
        )
    ],
    "values that are not messages": [None, 1, "x", [], {}],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_file_is_imported_without_harm(name: str, open_site: OpenSite, open_chat: OpenChat) -> None:
    nodes = HOSTILE_FILES[name]
    last = nodes[0]["id"] if isinstance(nodes[0], dict) else None
    conversation = {
        "id": "c1",
        "title": PAYLOAD,
        "updated": 5,
        "leaf": last,
        "model": PAYLOAD,
        "settings": {"system": 7},
    }
    document = {
        "format": "acytoo-conversations",
        "version": 1,
        "conversations": [conversation, None, 7],
        "nodes": nodes,
    }
    chat = open_chat(open_site(status(400, "no")).url)
    chat.page.locator("#import-file").set_input_files(
        {"name": "a.json", "mimeType": "application/json", "buffer": json.dumps(document).encode()}
    )
    chat.conversations.click()
    expect(chat.conversations.and_(chat.page.locator("[aria-current]"))).to_have_count(1)
    assert_harmless(chat)
    chat.ask("still works")
    expect(chat.replies.last.locator(".cut")).to_contain_text("no")
    assert_harmless(chat)


def test_a_file_cannot_replace_messages_of_another_conversation(open_site: OpenSite, open_chat: OpenChat) -> None:
    chat = open_chat(open_site(status(400, "no")).url)
    chat.ask("mine")
    expect(chat.replies.locator(".cut")).to_be_visible()
    known = chat.questions.get_attribute("id")
    assert known is not None
    document = {
        "format": "acytoo-conversations",
        "conversations": [{"id": "c1", "title": "theirs", "leaf": None}],
        "nodes": [node(id=known.removeprefix("m-"))],
    }
    chat.page.locator("#import-file").set_input_files(
        {"name": "a.json", "mimeType": "application/json", "buffer": json.dumps(document).encode()}
    )
    expect(chat.conversations).to_have_count(2)
    chat.reload()
    expect(chat.questions.locator(".body")).to_have_text("mine")


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not JSON"), ("[]", "not an export"), ('{"format": "other"}', "not an export")]
)
def test_a_file_of_another_kind_is_refused(
    content: str, message: str, open_site: OpenSite, open_chat: OpenChat
) -> None:
    chat = open_chat(open_site(status(400, "no")).url)
    chat.page.locator("#import-file").set_input_files(
        {"name": "a.json", "mimeType": "application/json", "buffer": content.encode()}
    )
    expect(chat.page.get_by_role("alert")).to_contain_text(message)
