"""What looking through one file gives: changes, findings, and the names that the changes need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import libcst as cst

from dtms_service.migrate.findings import Finding
from dtms_service.migrate.source import Edit, Source, Unsafe


@dataclass(slots=True)
class Gathered:
    """Filled by one look after the other."""

    source: Source
    edits: list[Edit] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    needs: set[tuple[str, str]] = field(default_factory=set)
    """(module, name) that the changed file must import at its top."""

    def say(self, node: cst.CSTNode, code: str, detail: str, *, mended: bool = False) -> None:
        """Report the line of ``node``."""
        self.findings.append(Finding(self.source.name, self.source.line(node), code, detail, mended))

    def change(self, node: cst.CSTNode, code: str, detail: str, make: Callable[[], list[Edit]]) -> bool:
        """Make the edits and report what they mend; when they cannot be placed exactly, report that and make none."""
        try:
            edits = make()
        except Unsafe as error:
            self.say(node, code, detail)
            self.say(node, "not-safe", str(error))
            return False
        self.edits += edits
        self.say(node, code, detail, mended=True)
        return True
