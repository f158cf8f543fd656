"""Hostile callers at the real process: refused as promised. The figures are a proof (``scripts/prove.py floods``)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flooding import BODY, Flood, combinations, flooded
from service import Service

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("floods") / "state") as running:
        yield running


def test_a_body_of_ten_gigabytes_is_refused_early_and_costs_no_memory(service: Service) -> None:
    flood: Flood = flooded(service, "bodies")
    for kind in ("declared", "chunked"):
        assert flood.told[kind]["status"] == 413
        assert flood.told[kind]["sent_mib"] < BODY / 1024**2 / 100
    assert flood.grown_mib < 50


def test_a_thousand_combinations_of_host_and_origin_are_answered_as_promised(service: Service) -> None:
    assert len(combinations(service.port)) == 1_000
    assert flooded(service, "strangers").told["wrong"] == []
