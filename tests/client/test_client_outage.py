"""DTMS is away: every caller is answered in time, nothing is lost, and what comes back is not run over."""

from __future__ import annotations

from pathlib import Path

import pytest
from outage import CALLERS, Away, Outage

from dtms_client.places import TIMEOUT_S

HOURS_8 = 8 * 3600.0


@pytest.mark.parametrize(("seconds", "each"), [(1.0, 3), (60.0, 12)])
@pytest.mark.parametrize("away", Away)
def test_ten_programs_that_register_while_it_is_away_are_answered_in_time_and_delivered_within_five_seconds(
    tmp_path: Path, seconds: float, each: int, away: Away
) -> None:
    outage = Outage(seconds, away, tmp_path, each=each)
    programs = outage.run()
    assert sum(program.registrations for program in programs) == CALLERS * each
    assert max(program.longest_s for program in programs) <= TIMEOUT_S + 0.01
    assert max(program.delivered_after_s for program in programs) <= 5.0
    assert len(outage.dtms.trades) == CALLERS * each


@pytest.mark.parametrize(("seconds", "each"), [(1.0, 10), (60.0, 20), (HOURS_8, 20)])
def test_a_service_that_was_down_gets_no_more_requests_than_there_were_registrations(
    tmp_path: Path, seconds: float, each: int
) -> None:
    """A refused connection carries no request; what waited arrives in batches."""
    asleep = (0.005 * seconds, 0.995 * seconds) if seconds == HOURS_8 else (0.0, 0.0)
    programs = Outage(seconds, Away.REFUSED, tmp_path, each=each, skipped=asleep).run(3)
    registrations = sum(program.registrations for program in programs)
    assert sum(program.requests for program in programs) <= 1.1 * registrations
    assert max(program.delivered_after_s for program in programs) <= 5.0
    assert max(program.longest_s for program in programs) == 0.0


def test_a_service_that_answers_not_ready_is_asked_once_per_registration_but_for_the_retry_budget_and_one_probe(
    tmp_path: Path,
) -> None:
    (program,) = Outage(60.0, Away.NOT_READY, tmp_path, each=200).run(1)
    probes = 60.0 / 2.0  # its Retry-After says 2 s
    assert program.requests <= 1.1 * program.registrations + probes
