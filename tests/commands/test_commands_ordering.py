"""Orders of an operator, and the question that stands before those which cannot be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from service import Service

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def _running_again(service: Service) -> Iterator[None]:
    yield
    service.post("/dtms/control/reset")


def control(service: Service) -> Any:
    return service.get("/dtms/control")


def test_pause_resume_halt_reset_reach_the_service_with_who_and_why(
    dtms: Any, service: Service, at: dict[str, str]
) -> None:
    for verb, reached in (("pause", "paused"), ("resume", "running"), ("halt", "halted"), ("reset", "running")):
        ended = dtms(verb, "--reason", f"to {verb}", "--by", "anna", **at)
        assert (ended.code, ended.json["control"]) == (0, reached)
        standing = control(service)
        assert (standing["control"], standing["reason"], standing["by"]) == (reached, f"to {verb}", "anna")


def test_an_order_that_is_not_possible_fails_and_says_why(dtms: Any, at: dict[str, str]) -> None:
    dtms("halt", **at)
    ended = dtms("resume", **at)
    assert (ended.code, ended.out) == (1, "")
    assert "reset" in ended.err
    assert "Try: " in ended.err


@pytest.mark.parametrize("verb", ["halt", "flatten"])
@pytest.mark.parametrize("typed", ["n\n", "\n", ""])
def test_a_person_who_does_not_say_yes_changes_nothing(
    dtms: Any, service: Service, at: dict[str, str], verb: str, typed: str
) -> None:
    before = control(service)
    ended = dtms(verb, person=True, typed=typed, **at)
    assert ended.code == 1
    assert "nothing was done. Try: " in ended.err.splitlines()[-1]
    assert control(service) == before


def test_a_person_is_asked_once_and_told_what_it_means(
    dtms: Any, service: Service, at: dict[str, str], opened: Callable[..., int]
) -> None:
    ticket = opened()
    dtms("register", str(ticket), **at)
    protected = service.get("/dtms/status")["counts"]["protected"]
    login = service.get("/dtms/status")["account"]["login"]
    ended = dtms("flatten", person=True, typed="y\n", **at)
    assert f"Close {protected} protected positions on account {login}, now?" in ended.err
    assert ended.code == 0
    assert f"closing {protected} positions" in ended.out
    assert str(ticket) in ended.out
    assert dtms("halt", person=True, typed="y\n", **at).code == 0
    assert control(service)["control"] == "halted"


def test_yes_and_a_script_are_not_asked(dtms: Any, service: Service, at: dict[str, str]) -> None:
    assert dtms("halt", "--yes", person=True, typed="", **at).code == 0
    assert control(service)["control"] == "halted"
    assert dtms("flatten", **at).code == 0
