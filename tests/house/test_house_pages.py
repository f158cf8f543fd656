"""Every page is found from the README, no link leads nowhere, and every number that is cited has its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [path for room in ("src", "tests", "scripts") for path in sorted((ROOT / room).rglob("*.py"))]
RULES = (ROOT / "docs" / "reference" / "rules.md").read_text("utf-8")
TERMINAL = (ROOT / "docs" / "reference" / "terminal.md").read_text("utf-8")
CITED = {
    "rulings": r"\bR[1-9]\d?\b",
    "invariants": r"\b[CI]-[1-9]\d?\b",
    "trading rules": r"\b(?:A1\.\d|B[1-9]\d?(?:\.\d)?|D[1-6]|E\.\d)\b",
    "interface": r"\bINTERFACE \d(?:\.\d)?",
    "design": r"\bDESIGN (?:decision \d+|\d(?:\.\d)?)",
    "old callers": r"\bcontract\.md(?:``)? §?\d(?:\.\d+)?",
    "failures": r"\b(?:reliability\.md(?:``)? (?:T?\d+)|[Ss]cenarios? \d+|T[1-9]\d?\b)",
    "package": r"\bmt5\.md(?:``)? §?\d(?:\.\d)?",
}
"""How each kind of reference is written in a source file."""


def links(page: Path) -> set[str]:
    """Where the links of a page lead, as written; links to the web and within the page are left out."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {to.partition("#")[0] for to in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:|#", to)}


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def cited(kind: str, text: str) -> set[str]:
    """What a text cites, written as in the tables of the page."""
    found = {re.sub(r"``|§", "", reference) for reference in re.findall(CITED[kind], text)}
    found = {re.sub(r"^[Ss]cenarios? ", "scenario ", reference) for reference in found}
    return {re.sub(r"^reliability.md (?=T)", "", reference) for reference in found}


def explained() -> set[str]:
    return set(re.findall(r"^\| ([^|`]+?) \| .{10,} \|$", RULES, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_leads_nowhere(page: Path) -> None:
    assert [to for to in sorted(links(page)) if not (page.parent / to).exists()] == []
    anchors = re.findall(r"\]\(([\w/.\-]*\.md)?#([\w\-]+)\)", page.read_text("utf-8"))
    assert [(to, name) for to, name in anchors if name not in headings(page.parent / to if to else page)] == []


def test_every_page_is_found_from_the_readme() -> None:
    found, new = set(), {ROOT / "README.md"}
    while new:
        found |= new
        new = {(page.parent / to).resolve() for page in new for to in links(page) if to.endswith(".md")} - found
    assert [page.relative_to(ROOT).as_posix() for page in PAGES if page not in found and page.parent != ROOT] == []


@pytest.mark.parametrize("kind", CITED)
def test_every_number_that_a_source_cites_has_its_line(kind: str) -> None:
    known = explained()
    missing = {
        (path.relative_to(ROOT).as_posix(), number)
        for path in SOURCES
        if path != Path(__file__)
        for number in cited(kind, path.read_text("utf-8")) - known
    }
    assert missing == set()


def test_the_references_are_found_at_all() -> None:
    text = (
        "R12, (C-7), I-1 and ``engine.md`` B7.1; INTERFACE 3.2, DESIGN 2.8, "
        "contract.md §2, reliability.md T7, ``mt5.md`` 0.3"
    )
    found = {number for kind in CITED for number in cited(kind, text)}
    assert found == {"R12", "C-7", "I-1", "B7.1", "INTERFACE 3.2", "DESIGN 2.8", "contract.md 2", "T7", "mt5.md 0.3"}


def test_every_behaviour_of_the_package_that_is_cited_has_its_row() -> None:
    numbers = {number for path in SOURCES for number in re.findall(r"\bC\d\d\b", path.read_text("utf-8"))}
    assert numbers
    assert [number for number in sorted(numbers) if f"| {number} |" not in TERMINAL] == []
