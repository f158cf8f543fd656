"""Every point of the users' review is answered with tests that exist; the page about managers says what rules say."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from dtms_service.domain.ownership import DTMS_STRATEGIES, MAY_MODIFY, OLD_NAMES, OWNER_NAMES, May
from dtms_service.domain.trade import Owner

ROOT = Path(__file__).resolve().parents[2]
ISSUES = (ROOT / "docs" / "explanation" / "issues-resolved.md").read_text("utf-8")
MANAGERS = (ROOT / "docs" / "explanation" / "who-manages.md").read_text("utf-8")
POINTS = (
    "Port number mismatch",
    "Initialisation timing",
    "Registration bound to a local engine",
    "Endpoint formats",
    "Auto-execution registration disabled",
    "Start order",
    "Error handling",
    "Universal Manager logic",
    "Batch registration",
    "Monitoring-loop dependency",
    "Communication pattern",
    "Data consistency",
    "State synchronisation",
    "Helper specification",
    "Endpoint specification",
    "Testing strategy",
)
"""The review's list, in its order."""
WORDS = {
    May.ALWAYS: "always",
    May.UNLESS_DEFENSIVE: "unless defensive",
    May.UNTIL_BREAKEVEN: "until breakeven",
    May.NEVER: "never",
}


def sections() -> dict[str, str]:
    parts = re.split(r"^### (.+)\n", ISSUES, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@cache
def names_in(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return frozenset(n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_point_of_the_review_is_there_in_its_order() -> None:
    assert tuple(sections()) == POINTS


@pytest.mark.parametrize("point", POINTS)
def test_a_point_says_what_was_wrong_what_is_true_now_and_names_tests_that_exist(point: str) -> None:
    was, then, rest = sections()[point].partition("**Is:**")
    now, shown, tests = rest.partition("**Shown by:**")
    assert then
    assert shown
    assert len(was.split()) > 5
    assert len(now.split()) > 15
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
    assert len(named) >= 2
    assert len(named) == tests.count("`") // 2
    assert [f"{file}::{name}" for file, name in named if name not in names_in(ROOT / file)] == []


def table(heading: str, page: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    rows = [line for line in page[page.index(f"\n## {heading}\n") :].split("\n\n|")[1].splitlines() if "|" in line]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in (f"|{rows[0]}", *rows[1:])]


def test_the_table_of_managers_is_that_of_the_rules() -> None:
    head, _, *rows = table("Who may change a position now", MANAGERS)
    managers = [Owner(name.strip("`")) for name in head[1:]]
    said = {Owner(row[0].strip("`")): dict(zip(managers, row[1:], strict=True)) for row in rows}
    assert said == {owner: {by: WORDS[may] for by, may in row.items()} for owner, row in MAY_MODIFY.items()}


def test_the_names_of_owners_are_those_of_the_rules() -> None:
    _, _, *rows = table("Names", MANAGERS)
    understood: dict[str, Owner] = {}
    for name, others, old in rows:
        owner = Owner(name.strip("`"))
        assert old.strip("`") == OLD_NAMES[owner]
        understood |= dict.fromkeys([owner.value, OLD_NAMES[owner], *re.findall(r"`(\w+)`", others)], owner)
        understood |= {"": owner} if "nothing at all" in others else {}
    assert understood == OWNER_NAMES


def test_the_strategies_that_stay_with_dtms_are_named() -> None:
    assert all(f"`{strategy}`" in MANAGERS for strategy in DTMS_STRATEGIES)
