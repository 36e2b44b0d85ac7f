"""The pictures of the docs. `ACYTOO_SCREENSHOTS=1 pytest tests/web/test_screenshots.py` writes them again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from acytoo.types import Reasoning
from tests.web.chat import answer
from tests.web.conftest import OpenChat, OpenSite

expect = pytest.importorskip("playwright.sync_api", reason="the extra dev has Playwright").expect

DOCS = Path(__file__).parents[2] / "docs"
IS_WRITTEN = bool(os.environ.get("ACYTOO_SCREENSHOTS"))
"""Read at import: a fixture of all tests removes the variable."""

LIMIT = 100 * 1024
"""Bytes of a picture."""

TABLE = """| API | Keeps a stream alive with |
|---|---|
| OpenAI | a comment |
| Anthropic | a `ping` event |
"""

CODE = """Use `create_completion`:

```python
for text in provider("openai").create_completion("gpt-5-mini", messages):
    print(text, end="", flush=True)
```
"""

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1000, "height": 640}},
    "dark": {"viewport": {"width": 1000, "height": 640}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 640}, "has_touch": True},
}


@pytest.mark.parametrize("look", LOOKS)
def test_the_docs_show_the_page(look: str, open_site: OpenSite, open_chat: OpenChat, tmp_path: Path) -> None:
    site = open_site(answer(Reasoning("The APIs differ."), TABLE), answer(CODE))
    chat = open_chat(site.url, **LOOKS[look])
    for count, question in enumerate(("How do APIs keep a stream alive?", "And without an event loop?"), 1):
        chat.ask(question)
        expect(chat.button("Regenerate")).to_have_count(count)
    name = f"page-{look}.png"
    path = (DOCS if IS_WRITTEN else tmp_path) / name
    chat.page.screenshot(path=path)
    assert path.stat().st_size <= LIMIT
    assert (DOCS / name).stat().st_size <= LIMIT
    assert f"({name})" in (DOCS / "page.md").read_text()
