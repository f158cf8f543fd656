"""The checks on a real terminal: left out unless asked for, refused where there is none."""

from __future__ import annotations

import os

import pytest
from live_opt_in import LINES, WANTED, impossible


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LINES] = []


@pytest.hookimpl(trylast=True)  # after -m has had its say
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    live = [item for item in items if item.get_closest_marker("live_mt5")]
    problem = impossible()
    if not live or problem is None:
        return
    if os.environ.get(WANTED) or "live_mt5" in config.option.markexpr:
        raise pytest.UsageError(problem)
    config.hook.pytest_deselected(items=live)
    items[:] = [item for item in items if item not in live]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash[LINES]
    if lines:
        terminalreporter.section("what this terminal does")
        for line in lines:
            terminalreporter.write_line(line)
