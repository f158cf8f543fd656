"""Old programs, rewritten: they run against the client, register the same trades, and are otherwise as they were."""

from __future__ import annotations

import ast
import asyncio
import difflib
import io
import json
import socketserver
import sys
import threading
import tokenize
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import old_programs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from old_programs import PROGRAMS, REGISTERING

from dtms_client import delivery, legacy, posting
from dtms_client.flusher import FLUSHER
from dtms_client.sync import DtmsClient
from dtms_client.testing import FakeDtms
from dtms_service.migrate import names, python_file

PORT = 8001
DEALS = [
    {"ticket": 1001, "symbol": "EURUSD", "side": "BUY", "price": 1.1, "volume": 0.1, "sl": 1.09},
    {"ticket": 1002, "symbol": "XAUUSD", "side": "sell", "price": 1900.0, "volume": 0.5, "sl": 1910.0},
    {"ticket": 1003, "symbol": "BTCUSD", "side": "Buy", "price": 30000.0, "volume": 0.01, "sl": None},
]
TICKETS = {deal["ticket"] for deal in DEALS}


@pytest.fixture(autouse=True)
def own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DTMS_STATE_DIR", str(tmp_path / "state"))
    for memory in (delivery._SAID, legacy._WARNED, legacy._CLIENTS):
        memory.clear()
    yield
    FLUSHER.reset()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True


def serving(answer: Any) -> tuple[socketserver.BaseServer, int]:
    """A server whose handler calls ``answer(method, path, headers, body)`` for (status, headers, content)."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, headers, content = answer(self.command, self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = _do  # noqa: N815 - names the standard library looks for

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = _Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server, int(server.server_address[1])


@pytest.fixture
def dtms(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDtms]:
    """The client's own fake, where the settings point."""
    fake = FakeDtms()

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, bytes]:
        response = fake.handle_request(httpx.Request(method, f"http://dtms{path}", headers=headers, content=body))
        return response.status_code, response.headers, response.read()

    server, port = serving(answer)
    monkeypatch.setenv("DTMS_API_URL", f"http://127.0.0.1:{port}")
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def old_dtms(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[set[int], int]]:
    """What the programs were written for, had it worked: the old package and the old address. Tickets, and the port."""
    tickets: set[int] = set()

    def register(ticket: int, *_: object, **__: object) -> bool:
        tickets.add(int(ticket))
        return True

    package = types.ModuleType("dtms_integration")
    package.auto_register_dtms = package.add_trade_to_dtms = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dtms_integration", package)

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, bytes]:
        said = dict(parse_qsl(body.decode())) if b"{" not in body else json.loads(body)
        register(said["ticket"])
        content = json.dumps({"success": True}).encode()
        return 200, {"content-length": str(len(content))}, content

    server, port = serving(answer)
    yield tickets, port
    server.shutdown()
    server.server_close()


def executed(code: bytes, name: str) -> dict[str, Any]:
    module: dict[str, Any] = {"__name__": name}
    exec(compile(code, name, "exec"), module)  # noqa: S102 - the programs of this test
    return module


@pytest.mark.parametrize("name", REGISTERING)
def test_a_rewritten_program_runs_and_registers_what_the_old_one_did(
    name: str, dtms: FakeDtms, old_dtms: tuple[set[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets, port = old_dtms
    before = old_programs.raw(name, port)
    executed(before, "old")["run"](DEALS)
    assert tickets == TICKETS
    monkeypatch.delitem(sys.modules, "dtms_integration")
    after = python_file.look(name, before, port).after
    executed(after, "new")["run"](DEALS)
    with DtmsClient() as client:  # inside a loop the drop-in stores, and the background thread delivers
        assert client.flush(timeout=5.0) == 0
    assert set(dtms.trades) == tickets


def test_the_rewritten_questions_are_asked_of_the_one_dtms(dtms: FakeDtms) -> None:
    legacy.auto_register_dtms(1001, {"symbol": "EURUSD", "direction": "BUY"})
    dtms.trades[1001]["state"] = "HEDGED"
    exits = executed(python_file.look("exits.py", old_programs.raw("infra/exits.py", PORT), PORT).after, "exits")
    assert exits["is_defensive"](1001) is True
    assert exits["is_defensive"](9) is False
    for way in ("formatted", "joined", "by_constant"):
        assert (exits[way](1001), exits[way](9)) == (200, 404), way
    assert exits["proxied"](1001)["state"] == "HEDGED"
    api = executed(python_file.look("api.py", old_programs.raw("app/main_api.py", PORT), PORT).after, "api")
    assert f"fetch('{legacy.dtms_url('/dtms/engine')}')" in api["page"]()
    assert asyncio.run(api["status"]())["active_trades"] == 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_rewriting_twice_is_rewriting_once_and_what_comes_out_is_a_program(name: str) -> None:
    once = python_file.look(name, old_programs.raw(name, PORT), PORT)
    assert once.changed
    ast.parse(once.after)
    twice = python_file.look(name, once.after, PORT)
    assert twice.after == once.after
    assert not [finding for finding in twice.findings if finding.mended]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_comment_and_every_line_without_dtms_survives(name: str) -> None:
    before = old_programs.raw(name, PORT)
    after = python_file.look(name, before, PORT).after
    assert comments(after) == comments(before)
    lines = difflib.SequenceMatcher(None, before.split(b"\n"), after.split(b"\n"), autojunk=False)
    for kind, a, b, _, _ in lines.get_opcodes():
        for line in before.split(b"\n")[a:b] if kind != "equal" else ():
            assert b"dtms" in line.lower() or b"client.post(" in line or b"data={" in line or line == b'"""', line
    assert (after.count(b"\r\n") > 0) == (before.count(b"\r\n") > 0)
    assert after.replace(b"\r\n", b"").count(b"\n") == after.count(b"\n") - after.count(b"\r\n")
    if b"\r\n" in before:
        assert b"\n" not in after.replace(b"\r\n", b"")


def comments(code: bytes) -> list[str]:
    return [token.string for token in tokenize.tokenize(io.BytesIO(code).readline) if token.type == tokenize.COMMENT]


IMPORTS = st.sampled_from(
    [
        "from dtms_integration import auto_register_dtms",
        "from dtms_integration import auto_register_dtms as reg, something_else",
        "from dtms_integration.dtms_system import (get_dtms_trade_status,\n        get_dtms_engine)  # two",
        "import dtms_integration as d",
        "from dtms_integration import dtms_system",
        "import json, dtms_integration",
        "from dtms_integration import *",
    ]
)
USES = st.sampled_from(
    [
        'x = get("http://localhost:8001/dtms/status")',
        "x = get(f'http://127.0.0.1:8001/dtms/trade/{ticket}' , timeout = 2)",
        'x = get(url="http://localhost:8000/api/dtms/actions")  # proxy',
        'x = requests.post("http://localhost:8001/dtms/trade/enable",json={"ticket":1})',
        'x = requests.post("http://localhost:8001/dtms/trade/enable", # why\n        data={"ticket": "1"},\n    )',
        "x = auto_register_dtms(1, {})",
        "auto_register_dtms(1, {})",
        'x = """<script>fetch("http://localhost:8001/dtms/engine")</script>"""',
        "x = ('http://localhost:8001'\n         '/dtms/status')",
        "x = {'a': 1,  'b':[ 2,3 ]}   # blanks",
        "if False:\n        auto_register_dtms(2, {})",
        "try:\n        auto_register_dtms(3, {})\n    except Exception: pass",
        'x = r"http://localhost:8002/dtms/action-history"',
        "x = 'http://localhost:8001/health'",
    ]
)
OPENINGS = st.sampled_from(
    ["", "#!/usr/bin/env python\n", '"""What it is."""\n', "from __future__ import annotations\n\n\n"]
)


@settings(max_examples=80, deadline=None)
@given(OPENINGS, st.lists(IMPORTS, max_size=3), st.lists(USES, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_whatever_a_program_is_made_of_rewriting_it_is_safe(
    opening: str, imports: list[str], uses: list[str], newline: str
) -> None:
    body = "".join(f"    {line}\n" for line in [*(i for i in imports if "*" not in i), *uses])
    stars = "".join(f"{line}\n" for line in imports if "*" in line)
    text = f"{opening}{stars}import requests\n\n\ndef work(ticket, get=None):\n{body}    return x\n\n\n# the end\n"
    before = text.replace("\n", newline).encode()
    once = python_file.look("made.py", before, PORT)
    assert "not-safe" not in {finding.code for finding in once.findings}
    ast.parse(once.after)
    assert comments(once.after) == comments(before)
    assert python_file.look("made.py", once.after, PORT).after == once.after
    assert b"return x" + newline.encode() * 3 + b"# the end" + newline.encode() in once.after
    assert ("post(" in text) <= (b"enable_trade(" in once.after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from dtms_integration import add_trade_to_dtms;x=1", "from dtms_client.legacy import add_trade_to_dtms;x=1"),
        (
            "import dtms_integration.dtms_system as s\ns.get_dtms_engine()",
            "import dtms_client.legacy as s\ns.get_dtms_engine()",
        ),
        ("from dtms_integration import dtms_system", "from dtms_client import legacy as dtms_system"),
        ("import dtms_integration.dtms_system", "import dtms_integration.dtms_system"),
        ("import dtms_integration as d\nd.private()", "import dtms_integration as d\nd.private()"),
        ("from dtms_enhancement import tick", "from dtms_enhancement import tick"),
        ("from .dtms_integration import tick", "from .dtms_integration import tick"),
        ('U = "http://localhost:8002/health"', 'U = "http://localhost:8002/health"'),
        ('U = b"http://localhost:8001/dtms/status"', 'U = b"http://localhost:8001/dtms/status"'),
        ('"""http://localhost:8001/dtms/status"""', '"""http://localhost:8001/dtms/status"""'),
        (
            'match u:\n    case "http://localhost:8001/dtms/status": pass',
            'match u:\n    case "http://localhost:8001/dtms/status": pass',
        ),
        (
            'u = ("http://localhost:8001/dtms/trade/" "5")',
            'u = ("http://localhost:8001/dtms/trade/" "5")',
        ),
        (
            "async def f(s):\n    async with s.post('http://localhost:8001/dtms/trade/enable', json={}) as r: pass",
            "from dtms_client.legacy import dtms_url\n"  # noqa: ISC004 - one program
            "async def f(s):\n    async with s.post(dtms_url('/dtms/trade/enable'), json={}) as r: pass",
        ),
        ('P = "http://broker:8001/dtms/status"', 'P = "http://broker:8001/dtms/status"'),
    ],
)
def test_what_is_rewritten_and_what_is_left_alone(before: str, after: str) -> None:
    found = python_file.look("x.py", before.encode(), PORT)
    assert found.after.decode() == after
    assert "not-safe" not in {finding.code for finding in found.findings}


def test_a_file_with_a_dtms_url_of_its_own_is_left_alone_and_named() -> None:
    before = b'def dtms_url(p): return p\nU = "http://localhost:8001/dtms/status"\n'
    found = python_file.look("x.py", before, PORT)
    assert found.after == before
    assert {finding.code for finding in found.findings} == {"hard-coded-port", "not-safe"}
    assert not any(finding.mended for finding in found.findings)


def test_blank_lines_at_the_end_that_the_parser_forgets_are_kept() -> None:
    before = b"from dtms_integration import auto_register_dtms\nx = 1\n\n\n  \n# c"
    assert python_file.look("x.py", before, PORT).after == before.replace(b"dtms_integration", b"dtms_client.legacy")


def test_the_names_are_those_of_the_client() -> None:
    public = {n for n, v in vars(legacy).items() if getattr(v, "__module__", "") == legacy.__name__ and n[0] != "_"}
    assert public ^ names.KEPT == {"dtms_url"}
    assert names.POSTS - set(dir(posting)) == set()
