"""Check the built site: `python docs/check.py out/docs` returns 1 and names what is wrong.

Every page has a language and a title; links within the site lead to a page and to a place on it;
nothing is loaded from elsewhere, so that the site works offline; links out of it are https.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = re.compile(r"(?:@import\s*|url\(\s*)[\"']?((?:https?:)?//[^\"')\s]+)")
"""What a style sheet loads from elsewhere."""


@dataclass
class Page(HTMLParser):
    """What a page says of itself, loads, and links to."""

    language: str = ""
    title: str = ""
    loads: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one tag."""
        found = {name: value or "" for name, value in attrs}
        self._inside = tag
        self.places |= {found[name] for name in ("id", "name") if name in found}
        if tag == "html":
            self.language = found.get("lang", "")
        elif tag == "a":
            self.links += [found["href"]] if "href" in found else []
        else:
            self.loads += [found[name] for name in ("src", "href") if name in found]

    def handle_endtag(self, tag: str) -> None:
        """Leave a tag."""
        del tag
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Read the first title; drawings have titles, too."""
        if self._inside == "title" and not self.title:
            self.title = data.strip()
        elif self._inside == "style":
            self.loads += LOADED.findall(data)


def faults(site: Path) -> Iterator[str]:
    """Everything that is wrong with a built site, one line each."""
    site = site.resolve()
    pages = {path: read(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site}: no page is there; build it with `make docs`"
    for path, page in pages.items():
        name = path.relative_to(site)
        if not page.language:
            yield f"{name}: the page names no language"
        if not page.title:
            yield f"{name}: the page has no title"
        for target in page.loads:
            if urlsplit(target).netloc:
                yield f"{name}: loads {target}, which is elsewhere"
            elif why := missing(path, target, pages):
                yield f"{name}: loads {target}: {why}"
        for target in page.links:
            if why := missing(path, target, pages):
                yield f"{name}: links to {target}: {why}"
    for path in sorted(site.rglob("*.css")):
        for target in LOADED.findall(path.read_text()):
            yield f"{path.relative_to(site)}: loads {target}, which is elsewhere"


def read(path: Path) -> Page:
    """Parse one file."""
    page = Page()
    page.feed(path.read_text())
    return page


def missing(source: Path, target: str, pages: dict[Path, Page]) -> str:
    """Why a link leads nowhere; nothing if it leads somewhere or out of the site by https."""
    parts = urlsplit(target)
    if parts.scheme in ("https", "mailto", "data"):
        return ""
    if parts.scheme or parts.netloc:
        return "a link out of the site is to be https"
    file = (source.parent / unquote(parts.path)).resolve() if parts.path else source
    if not file.is_file():
        return "there is no such file"
    place = unquote(parts.fragment)
    if place and file in pages and place not in pages[file].places:
        return "there is no such place on the page"
    return ""


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    print(
        "\n".join(found)
        or f"{sys.argv[1]}: every link leads somewhere; nothing is loaded from elsewhere"
    )
    sys.exit(bool(found))
