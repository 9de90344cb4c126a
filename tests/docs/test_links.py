"""Links lead somewhere: a tired reader follows them."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, pages, prose

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")


def links(page: Path) -> list[str]:
    # A link's text may be code, what is code as a whole is none.
    text = re.sub(r"\[`[^`\n]*`\]", "[code]", prose(page.read_text()))
    return _LINK.findall(_CODE.sub("", text))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{page.name}: {link}"


def test_there_are_links_to_look_at() -> None:
    found = {page.name: links(page) for page in pages()}
    assert "docs/access.md" in found["README.md"]
    assert len(found["README.md"]) > 10


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("# What else happens", "what-else-happens"),
        ("## The admin token, and others", "the-admin-token-and-others"),
        ("## `POST`, by hand", "post-by-hand"),
    ],
)
def test_anchors_are_made_as_github_makes_them(heading: str, anchor: str) -> None:
    assert anchors(f"{heading}\n") == {anchor}
