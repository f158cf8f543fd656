"""The API against its own document, asked by a tool that does not know our code; ten thousand requests are a proof."""

from __future__ import annotations

import pytest
from fuzzing import BEYOND_SCHEMA, Found, Service, fuzz


@pytest.fixture(scope="module")
def found() -> Found:
    return fuzz(seed=1, examples=4)


def test_nothing_that_is_allowed_or_forbidden_makes_the_service_fail_or_say_what_is_not_written(found: Found) -> None:
    assert "\n\n".join(f"{what}\n{how}" for what, how in found.failures.items()) == ""
    assert found.errors == []
    assert {status for status in found.statuses if status >= 500} <= {503}


def test_every_way_of_asking_was_tried(found: Found) -> None:
    assert set(found.phases) == {"examples", "coverage", "fuzzing", "stateful"}
    assert found.cases > 1_000
    assert {200, 404, 405, 409, 415, 422} <= set(found.statuses)


async def test_what_may_be_refused_beyond_its_schema_is_a_path_of_the_service(tmp_path) -> None:
    service = Service(tmp_path)
    await service.open()
    assert set(BEYOND_SCHEMA) <= set(service.app.openapi()["paths"])
    await service.world.close()
