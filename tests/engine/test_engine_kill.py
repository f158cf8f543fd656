"""The engine killed with SIGKILL at every named point: nothing is lost or done twice, and it goes on as before."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from crash_lives import Story
from crash_points import POINTS, Point, Scene, named
from nursery import Nursery

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")

SCENES = {Scene.ENGINE, Scene.ENGINE_STARTS, Scene.ENGINE_BEGINS, Scene.ENGINE_SETTLES}
HERE = [point for point in POINTS if point.scene in SCENES]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with Nursery() as nursery:
        nursery.ask({"warm": str(tmp_path_factory.mktemp("warm"))})
        yield Story.told(nursery, tmp_path_factory.mktemp("story"))


@pytest.mark.parametrize("point", HERE, ids=lambda point: point.name)
def test_a_death_at_any_point_changes_nothing(point: Point, story: Story) -> None:
    story.survives(point)


@pytest.mark.parametrize(
    ("protection", "point", "objection"),
    [
        ("an order is committed before it is sent", "order: hedge, after its answer", "has no committed intent"),
        ("a registration is committed before its answer", "registrar, begin", "neither in the ledger nor in the spool"),
    ],
)
def test_without_its_protection_a_death_loses_or_doubles_something(
    protection: str, point: str, objection: str, story: Story
) -> None:
    with pytest.raises(AssertionError, match=objection):
        story.survives(named(point), without=protection)
