"""Numbers for Prometheus, in its text format: one literal table, read from the engine's own counters at each look.

The format is a dozen lines; a client library would bring a second set of counters, 45 ms of start and global state.
Labels come from closed sets of ours, so that no caller can make a series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from dtms_client.wire import RegistrationOutcome
from dtms_service.api.describe import operation
from dtms_service.api.events import Streams
from dtms_service.api.security import Scope
from dtms_service.domain.control import Control
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Mode
from dtms_service.engine.authority import Authority
from dtms_service.engine.meters import Histogram
from dtms_service.engine.readiness import Phase
from dtms_service.engine.unmanaged import unmanaged

MEDIA = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, Mapping[str, str], float]
"""Suffix of the name, labels, value."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the numbers are read from. ``lag``: seconds by which the event loop was late."""

    authority: Authority
    streams: Streams
    lag: Callable[[], float]
    version: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of numbers."""

    name: str
    kind: str
    help: str
    samples: Callable[[Sight], Iterable[Sample]]


def _one(value: Callable[[Sight], float]) -> Callable[[Sight], Iterable[Sample]]:
    return lambda sight: [("", {}, value(sight))]


def _which(label: str, names: Iterable[str], current: Callable[[Sight], str]) -> Callable[[Sight], Iterable[Sample]]:
    """1 for the name that holds now, 0 for the others."""
    known = tuple(names)

    def samples(sight: Sight) -> Iterable[Sample]:
        now = current(sight)
        return [("", {label: name}, float(name == now)) for name in known]

    return samples


def _histogram(which: Callable[[Sight], Histogram]) -> Callable[[Sight], Iterable[Sample]]:
    def samples(sight: Sight) -> Iterator[Sample]:
        histogram, total = which(sight), 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            total += count
            yield "_bucket", {"le": _number(bound)}, total
        yield "_sum", {}, histogram.sum
        yield "_count", {}, total

    return samples


def _age(sight: Sight) -> Iterable[Sample]:
    check = sight.authority.report().checks.get("monitor")
    return [] if check is None or check.age_s is None else [("", {}, check.age_s)]


def _trades(sight: Sight) -> Iterable[Sample]:
    counted = Counter(trade.state for trade in sight.authority.book.trades.values())
    return [("", {"state": state.value}, counted[state]) for state in TradeState if not state.final]


def _protected(sight: Sight) -> float:
    authority = sight.authority
    return sum(not trade.state.final and authority.protected(trade) for trade in authority.book.trades.values())


def _registrations(sight: Sight) -> Iterable[Sample]:
    counted: Counter[str] = Counter(dict.fromkeys(get_args(RegistrationOutcome), 0))
    counted.update(sight.authority.meters.registrations)
    return [("", {"outcome": outcome}, count) for outcome, count in sorted(counted.items())]


def _actions(sight: Sight) -> Iterable[Sample]:
    counted = sorted(sight.authority.meters.actions.items())
    return [("", {"kind": kind, "outcome": outcome}, count) for (kind, outcome), count in counted]


METRICS: tuple[Metric, ...] = (
    Metric(
        "dtms_build_info", "gauge", "Always 1; the version is a label.", lambda s: [("", {"version": s.version}, 1)]
    ),
    Metric("dtms_ready", "gauge", "1 while /health/ready answers 200.", _one(lambda s: s.authority.report().ready)),
    Metric(
        "dtms_phase",
        "gauge",
        "1 for the phase the service is in.",
        _which("phase", Phase, lambda s: s.authority.report().phase.value),
    ),
    Metric(
        "dtms_mode",
        "gauge",
        "1 for the mode the service was started in.",
        _which("mode", Mode, lambda s: s.authority.mode.value),
    ),
    Metric(
        "dtms_control",
        "gauge",
        "1 for what an operator has ordered.",
        _which("control", Control, lambda s: s.authority.standing.control.value),
    ),
    Metric(
        "dtms_cycle_seconds",
        "histogram",
        "Real seconds that a completed cycle took, its orders included.",
        _histogram(lambda s: s.authority.meters.cycles),
    ),
    Metric(
        "dtms_cycles_failed_total",
        "counter",
        "Cycles in which the terminal could not be read.",
        _one(lambda s: s.authority.meters.cycles_failed),
    ),
    Metric("dtms_cycle_age_seconds", "gauge", "Engine seconds since the last completed cycle.", _age),
    Metric("dtms_trades", "gauge", "Trades that are not over, by state.", _trades),
    Metric("dtms_protected_trades", "gauge", "Trades that DTMS protects now.", _one(_protected)),
    Metric(
        "dtms_unmanaged_positions",
        "gauge",
        "Positions open at the terminal that nobody registered.",
        _one(lambda s: len(unmanaged(s.authority.book))),
    ),
    Metric(
        "dtms_open_intents",
        "gauge",
        "Orders that wait, are on their way, or have no known outcome yet.",
        _one(lambda s: len(s.authority.book.intents)),
    ),
    Metric(
        "dtms_open_alerts",
        "gauge",
        "Alerts that nobody has acknowledged.",
        _one(lambda s: len(s.authority.book.alerts)),
    ),
    Metric(
        "dtms_registrations_total",
        "counter",
        "Answers to registrations, by outcome or error code.",
        _registrations,
    ),
    Metric("dtms_actions_total", "counter", "Recorded actions on positions, by kind and outcome.", _actions),
    Metric(
        "dtms_transitions_total",
        "counter",
        "Changes of a trade's state.",
        _one(lambda s: s.authority.counts.transitions),
    ),
    Metric(
        "dtms_deep_checks_total",
        "counter",
        "Evaluations of a trade's score.",
        _one(lambda s: s.authority.counts.deep_checks),
    ),
    Metric(
        "dtms_ledger_sequence",
        "gauge",
        "Number of the newest event in the ledger.",
        _one(lambda s: s.authority.feed.last),
    ),
    Metric("dtms_event_streams", "gauge", "Open streams of GET /dtms/events.", _one(lambda s: s.streams.open)),
    Metric(
        "dtms_event_loop_lag_seconds",
        "gauge",
        "Largest delay of the event loop in the last half minute.",
        _one(lambda s: s.lag()),
    ),
)
"""Every family, in the order it is written."""


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _labels(labels: Mapping[str, str]) -> str:
    def quoted(text: str) -> str:
        return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

    inside = ",".join(f'{name}="{quoted(text)}"' for name, text in labels.items())
    return f"{{{inside}}}" if inside else ""


def exposition(sight: Sight) -> str:
    """All numbers in Prometheus' text format."""
    lines: list[str] = []
    for metric in METRICS:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [
            f"{metric.name}{suffix}{_labels(labels)} {_number(value)}"
            for suffix, labels, value in metric.samples(sight)
        ]
    return "\n".join(lines) + "\n"


_EXAMPLE = """# HELP dtms_trades Trades that are not over, by state.
# TYPE dtms_trades gauge
dtms_trades{state="HEALTHY"} 2
dtms_trades{state="WARNING_L1"} 1
"""
_METRICS_DOC = operation(
    "Numbers for Prometheus",
    Scope.READ,
    _EXAMPLE,
    answers={200: "Prometheus text format 0.0.4"},
    media="text/plain",
) | {"response_class": PlainTextResponse}


def metric_routes(sight: Sight) -> APIRouter:
    """``GET /metrics`` and ``/dtms/metrics``."""
    router = APIRouter(tags=["system"])

    async def metrics() -> Response:
        """Totals begin with the process. Every name is explained in ``docs/reference/metrics.md``."""
        return Response(exposition(sight), media_type=MEDIA)

    router.get("/metrics", **_METRICS_DOC)(metrics)
    router.get("/dtms/metrics", **_METRICS_DOC, name="dtms_metrics")(metrics)
    return router
