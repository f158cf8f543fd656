"""The real service and its callers killed with SIGKILL at every named point of their processes, and started again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from random import Random

import pytest
from crash_points import POINTS, Point, Scene, named
from crash_service import Killing
from nursery import Nursery

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
]

SCENES = {
    Scene.STARTS,
    Scene.REGISTERS,
    Scene.STEPS,
    Scene.INGESTS,
    Scene.REFUSES,
    Scene.LOSES_CHILD,
    Scene.STOPS,
}
HERE = [point for point in POINTS if point.scene in SCENES]
CALLERS = [point for point in POINTS if point.scene in {Scene.CALLER, Scene.FLUSHER}]


@pytest.fixture(scope="module")
def killing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killing]:
    with Nursery() as nursery:
        yield Killing(nursery, tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize("point", HERE, ids=lambda point: point.name)
def test_a_service_that_is_killed_at_any_point_goes_on_where_it_was(point: Point, killing: Killing) -> None:
    refused = killing.refused
    killing.dies(point)
    killing.goes_on()
    assert killing.refused == refused + (point.scene is Scene.REFUSES)


@pytest.mark.parametrize("point", CALLERS, ids=lambda point: point.name)
def test_a_caller_that_is_killed_at_any_point_has_lost_nothing_that_it_was_told_is_safe(
    point: Point, killing: Killing
) -> None:
    killing.caller_dies(point)
    killing.goes_on()


def test_killed_at_any_moment_with_twenty_positions_it_goes_on_where_it_was(killing: Killing) -> None:
    chance = Random(1)
    killing.holds(20)
    for _ in range(4):
        killing.dies_sometime(chance)
    killing.goes_on()


def test_a_caller_that_goes_on_before_its_registration_is_on_disk_loses_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Nursery() as nursery:
        killing = Killing(nursery, tmp_path_factory.mktemp("careless"))
        point = named("flusher, its caller was told that it is safe")
        killing.caller_dies(point, without="a registration is on disk before its caller goes on")
        with pytest.raises(AssertionError, match="neither in the ledger nor in the spool"):
            killing.goes_on()
