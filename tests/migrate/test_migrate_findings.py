"""What a person must look at: each kind is found where it is, and nothing is found in a program that is right."""

from __future__ import annotations

import textwrap

import pytest

from dtms_service.migrate import python_file, text_file
from dtms_service.migrate.findings import RULES
from dtms_service.migrate.names import KEPT

PORT = 8001
PACKAGE = frozenset({"add_trade_to_dtms"})
"""What the old package defines; not the function that seven callers import from it."""


def found(code: str) -> dict[str, list[int]]:
    """Kind -> lines, of what is left for a person and of what is mended."""
    kinds: dict[str, list[int]] = {}
    for finding in python_file.look("x.py", textwrap.dedent(code).encode(), PORT, PACKAGE).findings:
        kinds.setdefault(finding.code, []).append(finding.line)
    return kinds


CASES = {
    "missing-name": ("from dtms_integration import auto_register_dtms", [1]),
    "old-import": ("from dtms_integration import add_trade_to_dtms", [1]),
    "unknown-name": ("from dtms_integration import something", [1]),
    "star-import": ("from dtms_integration import *", [1]),
    "swallowed-exception": (
        """
        try:
            x = auto_register_dtms(1, {})
        except Exception:
            pass
        """,
        [4],
    ),
    "ignored-result": ("auto_register_dtms(1, {})", [1]),
    "not-awaited": ("async def f():\n    register_trade_with_dtms_api(1, {})", [2]),
    "duplicate-definition": (
        """
        class Tools:
            def execute(self):
                return auto_register_dtms(1, {})
            def other(self): ...
            def execute(self):
                return None
        """,
        [3],
    ),
    "hard-coded-port": ('x = "http://localhost:8001/dtms/status"', [1]),
    "form-body": ('x = requests.post("http://localhost:8001/dtms/trade/enable", data={"ticket": "1"})', [1]),
    "plain-http": ("async def f():\n    x = s.post('http://localhost:8001/dtms/trade/enable', json={})", [2]),
    "state-level": (
        """
        def f(t):
            status = get_dtms_trade_status(t)
            return status["trade_info"]["state"]
        """,
        [4],
    ),
    "dead-registration": (
        """
        if False:  # another manager
            from dtms_integration import add_trade_to_dtms
            x = add_trade_to_dtms(1)
        """,
        [2],
    ),
    "foreign-probe": ('x = "http://localhost:8001/health"', [1]),
    "local-engine": ("import dtms_core.engine", [1]),
    "commented-engine": ("x = 1\n# initialize_dtms(mt5)\n# start_dtms_monitoring()\n\n# _dtms_engine.stop()", [2, 5]),
    "launcher": ('args = ["--reload-dir", "dtms_core"]', [1]),
    "patched-name": ("sys.modules['dtms_integration'] = x", [1]),
    "module-string": ("x = importlib.import_module('dtms_integration')", [1]),
    "browser-page": ('x = """<script>fetch("http://localhost:8001/dtms/status")</script>"""', [1]),
    "not-read": ("def (", [1]),
    "not-safe": ("dtms_url = 1\nx = 'http://localhost:8001/dtms/status'", [1]),
}
"""Kind -> a program that has it, and the lines."""


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_is_found_in_its_line(kind: str) -> None:
    code, lines = CASES[kind]
    assert found(code).get(kind) == lines


def test_every_kind_has_a_case_here_or_in_the_tests_of_folders_and_says_why_and_what_to_do() -> None:
    assert set(CASES) | {"shadowed-module", "engine-file"} == set(RULES)
    assert all(len(rule.why) > 20 and len(rule.what_to_do) > 5 for rule in RULES.values())
    assert {rule.letter for rule in RULES.values()} == {"A", "B", "C", "D", "E", "F", "G", "-"}


@pytest.mark.parametrize(
    "code",
    [
        "from dtms_client import auto_register_dtms\nok = auto_register_dtms(1, {})\n",
        "from dtms_client.legacy import dtms_url\nx = get(dtms_url('/dtms/status'))\n",
        "try:\n    ok = auto_register_dtms(1, {})\nexcept Exception as error:\n    log(error)\n",
        "try:\n    other()\nexcept Exception:\n    pass\n",
        "if DEBUG:\n    ok = auto_register_dtms(1, {})\n",
        "if False:\n    other()\n",
        "@overload\ndef f(x): return auto_register_dtms(1, x)\ndef f(x): return auto_register_dtms(1, x)\n",
        "def f(t):\n    s = get_dtms_trade_status(t)\n    return s.get('state')\n",
        "def f(t):\n    s = other(t)\n    return s['trade_info']\n",
        "async def f():\n    ok = await register_trade_with_dtms_api(1, {})\n",
        "# the engine of the car\nfrom dtms_enhancement import ticks\n",
        "x = 'http://localhost:8002/health'\n",
        "x = 'http://localhost:8000/health'\n",
        "x = 'http://localhost:18001/health'\n",
        "x = [8001, 8002]\n",
    ],
)
def test_a_program_that_is_right_has_no_findings(code: str) -> None:
    assert found(code) == {}


def test_aliases_are_followed() -> None:
    code = "from dtms_client import auto_register_dtms as put\nput(1, {})\n"
    assert found(code) == {"ignored-result": [2]}


def test_a_suppressed_registration_is_a_swallowed_one() -> None:
    code = "with contextlib.suppress(Exception):\n    x = auto_register_dtms(1, {})\n"
    assert found(code) == {"swallowed-exception": [1]}


def test_a_state_that_was_never_seen_is_named_because_the_check_now_works() -> None:
    code = """
    def f(t):
        data = requests.get(f"http://localhost:8001/dtms/trade/{t}").json()
        return data.get("state") == "HEDGED"
    """
    assert found(code)["state-level"] == [4]


def test_what_is_mended_says_so_and_the_rest_does_not() -> None:
    code = 'from dtms_integration import auto_register_dtms, private\nx = "http://localhost:8001/health"\n'
    findings = python_file.look("x.py", code.encode(), PORT, PACKAGE).findings
    assert {finding.detail.partition(" ")[0] for finding in findings if finding.mended} == {
        "auto_register_dtms",
        "from",
    }
    assert {finding.code for finding in findings if not finding.mended} == {
        "missing-name",
        "unknown-name",
        "foreign-probe",
    }


@pytest.mark.parametrize("name", sorted(KEPT))
def test_every_name_the_client_has_is_rewritten_wherever_it_was_imported_from(name: str) -> None:
    for module in ("dtms_integration", "dtms_integration.dtms_system"):
        after = python_file.look("x.py", f"from {module} import {name}\n".encode(), PORT).after
        assert after == f"from dtms_client.legacy import {name}\n".encode()


@pytest.mark.parametrize(
    ("suffix", "line", "kind"),
    [
        (".json", '{"url": "http://localhost:8001/health"}', "foreign-probe"),
        (".json", '{"port": 8001}', "foreign-probe"),
        (".json", '{"port": 80011}', None),
        (".yaml", "url: http://127.0.0.1:8001/dtms/status", "hard-coded-port"),
        (".env", "PHONE_HUB_URL=ws://localhost:8001/agent", "foreign-probe"),
        (".sh", "curl http://localhost:8001/health && systemctl restart bot", "foreign-probe"),
        (".sh", "curl http://localhost:8000/health", None),
        (".bat", "start cmd /k python dtms_api_server.py", "launcher"),
        (".bat", "taskkill /F /IM python.exe", "launcher"),
        (".js", "fetch('http://localhost:8001/dtms/engine')", "browser-page"),
    ],
)
def test_other_files_are_read_line_by_line(suffix: str, line: str, kind: str | None) -> None:
    findings = text_file.look("x", suffix, f"\n{line}\n".encode(), PORT)
    assert [(finding.line, finding.code) for finding in findings] == ([] if kind is None else [(2, kind)])


def test_a_secret_beside_an_address_is_not_repeated() -> None:
    line = b"TOKEN=canary URL=ws://localhost:8001/agent?x=1 PASSWORD=canary"
    assert "canary" not in repr(text_file.look(".env", ".env", line, PORT))
