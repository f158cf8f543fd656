"""Every metric is explained, in the same words everywhere, and the page names none that does not exist."""

from __future__ import annotations

import re

from service import ROOT

from dtms_service.api.metrics import METRICS

PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")


def test_every_metric_has_its_row() -> None:
    rows = re.findall(r"^\| `(dtms_\w+)` \| (\w+) \| [^|]* \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert rows == [(metric.name, metric.kind, metric.help) for metric in METRICS]


def test_the_page_names_only_metrics_that_exist() -> None:
    assert set(re.findall(r"dtms_[a-z_]+", PAGE)) == {metric.name for metric in METRICS}
