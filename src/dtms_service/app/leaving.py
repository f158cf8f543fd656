"""How the process ends: one number for scripts, one sentence for people (exit codes of INTERFACE 5)."""

from __future__ import annotations

DONE = 0
FAILED = 1
LOCK_HELD = 73
PORT_TAKEN = 74
STORAGE_FAILED = 75
MISCONFIGURED = 78


class Exit(Exception):
    """End the process with ``code``; ``sentence`` says why and what to try."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
