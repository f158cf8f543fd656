"""Files that are not Python: settings, launchers, pages. They are reported, never rewritten (contract.md 7 C, D, F)."""

from __future__ import annotations

import re

from dtms_service.migrate.addresses import Meaning, found
from dtms_service.migrate.findings import Finding

LAUNCHERS = frozenset({".bat", ".cmd", ".ps1", ".sh"})
PAGES = frozenset({".html", ".htm", ".js", ".ts", ".jsx", ".tsx", ".vue"})
SETTINGS = frozenset({".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".env", ".conf", ".example"})
READ = LAUNCHERS | PAGES | SETTINGS

_STARTS = re.compile(
    r"dtms_api_server|initialize_dtms|taskkill\b[^\n]*python|pkill\b[^\n]*python|--reload-dir\s+dtms\w*"
)
_PORT = re.compile(r"\bport[\"']?\s*[:=]\s*[\"']?(\d+)\b", re.IGNORECASE)


def look(file: str, suffix: str, raw: bytes, port: int) -> list[Finding]:
    """Findings of one file, each with what was seen and nothing else of its line."""
    findings: set[Finding] = set()
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        for address in found(line, port):
            ours = address.meaning is Meaning.DTMS
            code = ("browser-page" if suffix in PAGES else "hard-coded-port") if ours else "foreign-probe"
            findings.add(Finding(file, number, code, address.text))
        if suffix in SETTINGS and any(int(match[1]) == port for match in _PORT.finditer(line)):
            findings.add(Finding(file, number, "foreign-probe", f"port {port}"))
        if suffix in LAUNCHERS and (starts := _STARTS.search(line)) is not None:
            findings.add(Finding(file, number, "launcher", starts[0]))
    return sorted(findings)
