"""Registrations through a bad network, with deaths of callers and of the service: nothing lost, nothing twice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_judge import Disk
from fault_caller import Claim, Told, plan
from fault_judge import Found, judged
from fault_proxy import EVERYTHING
from fault_run import FaultRun, Size
from nursery import Nursery

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
]
LARGE = Size(registrations=1_000, positions=40, not_open=160, service_kills=2, caller_kills=5, alone=0.3)
SMALL = Size(registrations=80, positions=5, not_open=35, service_kills=1, caller_kills=0, alone=0.3)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as one:
        yield one


def test_what_callers_are_told_is_true_whatever_the_network_does_and_whoever_dies(
    nursery: Nursery, tmp_path: Path
) -> None:
    found = FaultRun(nursery, tmp_path, 1, LARGE).run()
    assert found.violations == []
    assert found.told.total() >= 990  # a death may cut the last line of what a caller wrote
    assert (found.service_kills, found.caller_kills) == (2, 5)
    assert set(found.played) == set(EVERYTHING)
    assert {"queued", "protected", "already_protected", "pending_verification", "rejected", "yes", "no"} <= set(
        found.told
    )


def test_without_a_file_on_disk_registrations_are_lost_and_the_judge_says_so(nursery: Nursery, tmp_path: Path) -> None:
    without = "a registration is on disk before its caller goes on"
    found = FaultRun(nursery, tmp_path, 2, SMALL, without).run()
    assert found.lost


TRUE = Claim(5, "EURUSD", "BUY", true=True)
WRONG = Claim(5, "EURUSD", "SELL", true=False)
ROW = {"ticket": 5, "symbol": "EURUSD", "side": "BUY"}
OPEN = {"ticket": 5, "symbol": "EURUSD", "type": 0}
GOOD = Disk(trades=(ROW,), positions=(OPEN,))
ONCE = {5: 1}
SET_ASIDE = [(WRONG, "registration_conflict")]


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (lambda: judged([Told(TRUE, "protected")], GOOD, [], ONCE), None),
        (lambda: judged([Told(TRUE, "queued"), Told(WRONG, "queued")], GOOD, SET_ASIDE, ONCE), None),
        (lambda: judged([Told(WRONG, "rejected", "registration_conflict")], GOOD, [], ONCE), None),
        (lambda: judged([Told(WRONG, "pending_verification")], GOOD, [], ONCE, {5}), None),
        (lambda: judged([Told(WRONG, "pending_verification")], GOOD, [], ONCE), "accepted"),
        (lambda: judged([Told(WRONG, "protected")], GOOD, [], ONCE, {5}), "accepted"),
        (lambda: judged([Told(TRUE, "queued")], Disk(), [], {}), "lost"),
        (lambda: judged([Told(TRUE, "yes")], Disk(), [], {}), "lost"),
        (lambda: judged([], Disk(trades=(ROW, ROW)), [], ONCE), "doubled"),
        (lambda: judged([], GOOD, [], {5: 2}), "doubled"),
        (lambda: judged([Told(WRONG, "protected")], GOOD, [], ONCE), "accepted"),
        (lambda: judged([Told(WRONG, "queued")], GOOD, [], ONCE), "accepted"),
        (lambda: judged([], Disk(trades=(ROW,), positions=({**OPEN, "type": 1},)), [], ONCE), "accepted"),
        (lambda: judged([Told(TRUE, "rejected", "registration_conflict")], GOOD, [], ONCE), "refused"),
        (lambda: judged([Told(TRUE, "no")], GOOD, [], ONCE), "refused"),
        (lambda: judged([Told(WRONG, "rejected", "validation_failed")], GOOD, [], ONCE), "refused"),
        (lambda: judged([], GOOD, [(TRUE, "registration_conflict")], ONCE), "refused"),
        (lambda: judged([], GOOD, [(WRONG, "damaged")], ONCE), "refused"),
    ],
)
def test_the_judge_tells_good_from_bad(found: Callable[[], Found], complaint: str | None) -> None:
    said = found()
    kinds = {name for name in ("lost", "doubled", "accepted", "refused") if getattr(said, name)}
    assert kinds == ({complaint} if complaint else set())


def test_a_plan_is_the_same_for_a_caller_that_starts_again() -> None:
    tickets = [(1, "EURUSD", "BUY"), (2, "XAUUSD", "SELL")]
    first = plan(7, 1000, tickets, 0.3)
    assert first == plan(7, 1000, tickets, 0.3)
    claims = [claim for _, claims in first for claim in claims]
    assert len(claims) == 1000
    assert 20 <= sum(not claim.true for claim in claims) <= 100
    assert 0.2 <= sum(len(claims) == 1 for _, claims in first) / 1000 <= 0.4
