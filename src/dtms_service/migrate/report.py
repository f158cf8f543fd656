"""What was found, for people and for pipes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import asdict

from dtms_service.migrate.findings import RULES, Finding
from dtms_service.migrate.python_file import Looked
from dtms_service.migrate.tree import Report


def difference(one: Looked) -> str:
    """A unified diff of one file, as ``git apply`` and ``patch`` read it."""
    before, after = (_lines(raw, one.encoding) for raw in (one.before, one.after))
    pieces = difflib.unified_diff(before, after, f"a/{one.file}", f"b/{one.file}")
    return "".join(piece if piece.endswith("\n") else f"{piece}\n\\ No newline at end of file\n" for piece in pieces)


def for_people(report: Report, *, applied: bool) -> Iterator[str]:
    """The findings, one below the other, grouped by what they are; then one line that counts."""
    left = [finding for finding in report.findings if not finding.mended]
    for code in [code for code in RULES if any(finding.code == code for finding in left)]:
        rule = RULES[code]
        yield f"\n{code}: {rule.why}\n  do: {rule.what_to_do}\n"
        for finding in left:
            if finding.code == code:
                yield f"  {finding.file}:{finding.line}: {finding.detail}\n"
    yield f"\n{summary(report, applied=applied)}\n"


def summary(report: Report, *, applied: bool) -> str:
    """One sentence with the figures."""
    mended = sum(finding.mended for finding in report.findings)
    done = "rewritten" if applied else "to rewrite (--apply writes them)"
    rest = len(report.findings) - mended
    return f"{report.files} files read, {len(report.changed)} {done}, {mended} places; {rest} findings for a person"


def for_pipes(report: Report, *, applied: bool, copies: list[str]) -> str:
    """The same as JSON."""
    body = {
        "root": str(report.root),
        "applied": applied,
        "files_read": report.files,
        "changed": [{"file": one.file, "diff": difference(one)} for one in report.changed],
        "findings": [_shown(finding) for finding in report.findings],
        "backups": copies,
    }
    return json.dumps(body, indent=1)


def _shown(finding: Finding) -> dict[str, object]:
    rule = RULES[finding.code]
    return asdict(finding) | {"group": rule.letter, "why": rule.why, "what_to_do": rule.what_to_do}


def _lines(raw: bytes, encoding: str) -> list[str]:
    """Lines as version control sees them: a line ends with a line feed and with nothing else."""
    *whole, rest = raw.decode(encoding).split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])
