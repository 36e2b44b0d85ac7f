"""Every link of the documents leads somewhere: as GitHub shows them, and in the site that is built from docs/."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from tests.docs.conftest import DOCS, ROOT

PAGES = sorted(DOCS.glob("*.md"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES, *sorted((ROOT / "examples").rglob("*.md"))]
MARKDOWN = MarkdownIt("commonmark").enable("table")


class Document(NamedTuple):
    links: list[str]
    anchors: set[str]
    """The ids that GitHub gives to the headings."""


def read(path: Path) -> Document:
    """Return the links and the anchors of a Markdown file."""
    links: list[str] = []
    anchors: list[str] = []
    tokens = MARKDOWN.parse(path.read_text())
    for before, token in pairwise(tokens):
        children = token.children or []
        links += [str(child.attrs.get("href") or child.attrs.get("src") or "") for child in children if child.attrs]
        if before.type == "heading_open":
            shown = "".join([child.content for child in children if child.type in ("text", "code_inline")])
            anchor = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
            anchors.append(f"{anchor}-{anchors.count(anchor)}" if anchor in anchors else anchor)
    return Document(links, set(anchors))


def broken(path: Path) -> Iterator[str]:
    """Yield the links of a document that GitHub's readers cannot follow."""
    for link in read(path).links:
        parts = urlsplit(link)
        if parts.scheme in ("http", "https", "mailto"):
            continue
        target = path.parent / unquote(parts.path) if parts.path else path
        if not target.exists():
            yield f"{link}: there is no such file"
        elif parts.fragment and parts.fragment not in read(target).anchors:
            yield f"{link}: there is no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    assert not list(broken(path))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_links_only_to_what_the_site_has(path: Path) -> None:
    outside = [link for link in read(path).links if link.startswith("../")]
    assert not outside, "name a file outside of docs/ instead of linking to it"


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b.c` & d\n\n[a](gone.md) [b](page.md#gone) [c](#a-bc--d) ![d](gone.png) `[e](gone)`\n")
    assert [fault.partition(":")[0] for fault in broken(page)] == ["gone.md", "page.md#gone", "gone.png"]


def pages_of(nav: object) -> Iterator[str]:
    """Yield the files of the navigation."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list):
        for entry in nav:
            yield from pages_of(entry)
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from pages_of(value)


def test_the_navigation_has_every_page_once() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    assert sorted(pages_of(nav)) == [page.name for page in PAGES]


class Page(HTMLParser):
    """The ids of an HTML page, what it links to and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the ids and addresses of an element."""
        found = dict(attrs)
        if found.get("id"):
            self.ids.add(str(found["id"]))
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        elif tag in ("script", "img", "link", "iframe") and (address := found.get("src") or found.get("href")):
            self.loads.append(address)


def test_every_link_of_the_site_leads_to_a_file_and_an_id(site: Path) -> None:
    pages = {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    assert {path.stem for path in pages} == {page.stem for page in PAGES}
    faults = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (target in pages and parts.fragment and parts.fragment not in pages[target].ids):
                faults.append(f"{path.name}: {link}")
    assert not faults


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    loads = {address for path in site.rglob("*.html") for address in Page(path).loads}
    assert loads
    assert not [address for address in loads if urlsplit(address).netloc]
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text())


def test_every_list_and_table_is_one_in_the_site_too(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = re.sub(r"<(pre|script)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL)
        assert not re.findall(r"^(?:[-*] |\|).*", text, re.MULTILINE), path.name


@pytest.mark.parametrize(("path", "folder"), [(ROOT / "README.md", "docs/"), (DOCS / "index.md", "")])
def test_a_reader_finds_every_page_with_one_click(path: Path, folder: str) -> None:
    pages = {folder + page.name for page in PAGES} - {"index.md"}
    assert not pages - set(read(path).links)
