"""Is a recorded history of concurrent registrations of one ticket possible if each took effect at one instant?

The search of Wing and Gong: some order of the operations must agree with what they were answered, in which each comes
after all that had ended before it began. What one ticket does is small enough to be tried exhaustively.

    nothing registered    a claim is answered ``first`` and holds from now on
    a claim holds         the same claim is answered ``again``, any other ``conflict``; nothing changes

An operation without an answer may have taken effect at any time after it began, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

State = str | None
"""The claim that holds, None before the first."""


class Answer(Enum):
    FIRST = "first"
    AGAIN = "again"
    CONFLICT = "conflict"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Operation:
    """One registration: what was claimed, when it began and ended by one counter for all, what was answered."""

    claim: str
    begun: int
    ended: int
    answer: Answer


def is_linearizable(history: Sequence[Operation]) -> bool:
    """Whether some order of the operations explains their answers."""
    dead_ends: set[tuple[frozenset[int], State]] = set()

    def explained(left: frozenset[int], state: State) -> bool:
        if all(history[number].answer is Answer.LOST for number in left):
            return True  # none of these need ever have taken effect
        if (left, state) in dead_ends:
            return False
        horizon = min(history[number].ended for number in left if history[number].answer is not Answer.LOST)
        for number in left:
            operation = history[number]
            if operation.begun < horizon:
                answer, after = _effect(operation.claim, state)
                if operation.answer in {answer, Answer.LOST} and explained(left - {number}, after):
                    return True
        dead_ends.add((left, state))
        return False

    return explained(frozenset(range(len(history))), None)


def _effect(claim: str, state: State) -> tuple[Answer, State]:
    if state is None:
        return Answer.FIRST, claim
    return (Answer.AGAIN if claim == state else Answer.CONFLICT), state
