"""What can be wrong in a program that used the old DTMS: each finding, why it matters, what to do. Literal table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of finding. ``letter`` is its group in contract.md 7."""

    letter: str
    why: str
    what_to_do: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place. ``detail`` names what was seen, never a whole line: settings files hold secrets."""

    file: str
    line: int
    code: str
    detail: str
    mended: bool = False
    """The rewriting takes care of it."""


RULES: Mapping[str, Rule] = {
    "old-import": Rule(
        "A",
        "the old package needs an engine in this process, and there is none any more",
        "import the same name from dtms_client.legacy",
    ),
    "missing-name": Rule(
        "A",
        "the module that wins the import does not define this name: ImportError at every call",
        "import it from dtms_client.legacy, which has it",
    ),
    "shadowed-module": Rule(
        "E",
        "a package and a module have the same name: Python imports the package, and nothing in the module ever runs",
        "remove the one that is not meant; --shim replaces the package dtms_integration",
    ),
    "swallowed-exception": Rule(
        "A",
        "whatever goes wrong in the registration disappears here, and the trade stays unprotected without a word",
        "remove the try: the functions of the client never raise, and they log what goes wrong",
    ),
    "ignored-result": Rule(
        "A",
        "the answer says whether the trade is protected (or safely on its way), and nobody reads it",
        "keep the answer; when it is False tell a person, the log says why",
    ),
    "duplicate-definition": Rule(
        "A",
        "a later definition of the same name replaces this one: what it does for DTMS never happens",
        "remove one of them",
    ),
    "hard-coded-port": Rule(
        "C",
        "the address is written into the program: it stays behind when DTMS_API_HOST or DTMS_API_PORT change",
        "use dtms_client.legacy.dtms_url(path), or the methods of DtmsClient",
    ),
    "form-body": Rule(
        "A",
        "the old service answered a form with 422, so this registration never worked",
        "send a dictionary: enable_trade(json=...) of dtms_client.posting, or DtmsClient.register",
    ),
    "state-level": Rule(
        "B",
        "the state was looked for where the old service did not put it, so the check never saw a defended trade",
        "get_dtms_trade_status has 'state' at its top; over HTTP it is now at the top and inside trade_info. "
        "Read what the program does once the check is true: that code has never run",
    ),
    "dead-registration": Rule(
        "A",
        "the branch never runs: this trade is registered nowhere",
        "make it one unconditional registration that passes strategy_type; the service decides who manages the trade",
    ),
    "foreign-probe": Rule(
        "D",
        "this is the port of DTMS, which answers 503 until it is ready: another program's health, or its restart, "
        "would be decided by DTMS",
        "name the right port of that program; to ask for DTMS itself use /health/ready or dtms-client wait-ready",
    ),
    "plain-http": Rule(
        "A",
        "a registration by plain HTTP is lost when the service is away, and it carries no token",
        "use enable_trade / enable_trade_async of dtms_client.posting, or DtmsClient.register",
    ),
    "not-awaited": Rule("A", "a coroutine that nobody awaits does nothing at all", "await it"),
    "star-import": Rule("B", "which names it brings cannot be seen here", "import the names from dtms_client.legacy"),
    "unknown-name": Rule(
        "B",
        "the client has nothing of this name",
        "look for it in dtms_client.legacy; what an engine did is now done by the service alone",
    ),
    "local-engine": Rule(
        "E",
        "it expects an engine or a loop in this process; the only engine is in the service, and these names do nothing",
        "remove it; state and status come from get_dtms_trade_status and get_dtms_system_status",
    ),
    "engine-file": Rule(
        "E",
        "this file is part of an old engine: two engines on one account act against each other",
        "stop whatever starts it before DTMS protects, and remove it once nothing imports it",
    ),
    "commented-engine": Rule(
        "E",
        "an old engine sleeps in this comment and comes back with a single edit",
        "remove the comment; version control remembers it",
    ),
    "launcher": Rule(
        "F",
        "this starts, reloads or kills programs without knowing DTMS: it must be up first and may be asked to stop",
        "start 'dtms serve' first, wait with 'dtms-client wait-ready', stop it by its process id",
    ),
    "patched-name": Rule(
        "G",
        "the test replaces a name that the program no longer imports, so it shows nothing",
        "patch the name where the program looks it up, or give the client a dtms_client.testing.FakeDtms",
    ),
    "module-string": Rule(
        "B",
        "the old module is named in a string, which no import rule sees",
        "name dtms_client.legacy, or remove it",
    ),
    "browser-page": Rule(
        "C",
        "the page asks DTMS from a browser, which needs the address and permission",
        "allow the page's address in api.allowed_origins; --apply takes the address from the settings",
    ),
    "not-read": Rule(
        "-",
        "the file cannot be read as Python, so nothing in it was looked at",
        "make it a program that Python accepts, then run again",
    ),
    "not-safe": Rule(
        "-",
        "a change here could not be made without touching anything else",
        "make it by hand",
    ),
}
