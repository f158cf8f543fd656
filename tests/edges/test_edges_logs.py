from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dtms_service import logs

log = logging.getLogger("dtms_service.somewhere")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_becomes_one_line_of_json_with_its_facts(tmp_path: Path) -> None:
    out = io.StringIO()
    logs.start("info", tmp_path / "logs", stream=out)
    log.info("cycle_incomplete", extra={"code": "timeout", "path": Path("x")})
    log.debug("too_small")
    (line,) = lines(out)
    assert (line["event"], line["code"], line["path"]) == ("cycle_incomplete", "timeout", "x")
    assert (line["level"], line["logger"]) == ("info", "dtms_service.somewhere")
    assert line["time"].endswith("Z")
    assert json.loads((tmp_path / "logs" / "dtms.log").read_text()) == line


def test_a_failure_carries_its_traceback_on_the_same_line() -> None:
    out = io.StringIO()
    logs.start("info", None, stream=out)
    try:
        {}["missing"]
    except KeyError:
        log.exception("failed")
    (line,) = lines(out)
    assert "KeyError: 'missing'" in line["exception"]


def test_secrets_never_get_out(tmp_path: Path) -> None:
    out = io.StringIO()
    logs.start("debug", tmp_path, ["canary-1"], out)
    log.info("a", extra={"token": "canary-2", "Password": "canary-3", "login": 4004004, "url": "x?t=canary-1"})
    log.warning("header Authorization: Bearer canary-5 came with canary-1")
    for text in (out.getvalue(), (tmp_path / "dtms.log").read_text()):
        assert "canary" not in text
        assert "4004004" not in text
        assert "***" in text


def test_a_log_folder_that_cannot_be_used_costs_the_file_and_not_the_service(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    out = io.StringIO()
    logs.start("info", tmp_path / "logs", stream=out)
    log.info("still_here")
    assert [line["event"] for line in lines(out)] == ["log_file_unavailable", "still_here"]


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            del text
            raise OSError(28, "No space left on device")

    logs.start("info", tmp_path, stream=Full())
    log.info("first")
    log.info("second")
    (console,) = [h for h in logging.getLogger().handlers if isinstance(h, logs.Console)]
    assert console.dropped == 2
    assert len((tmp_path / "dtms.log").read_text().splitlines()) == 2


def test_starting_again_replaces_the_handlers(tmp_path: Path) -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.start("info", tmp_path, stream=first)
    logs.start("info", tmp_path, stream=second)
    log.info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1
    assert len((tmp_path / "dtms.log").read_text().splitlines()) == 1
