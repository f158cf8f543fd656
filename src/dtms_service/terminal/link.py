"""The way to a backend: calls go out, one answer comes back, and every failure says whether the calls may have run.

Two implementations: ``process.ProcessLink`` keeps the backend in a child process that can be killed; ``InlineLink``
keeps it in this one, for simulations under virtual time, where waiting on a pipe would look like nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from dtms_service.domain.errors import Invalid
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.terminal import dispatch
from dtms_service.terminal.frames import BadFrame, decode, pack, unpack


class Call(NamedTuple):
    """One call on the backend, JSON only."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def call(name: str, *args: Any, **kwargs: Any) -> Call:
    """``call("symbol_select", "EURUSD", True)``: a call as it would be written."""
    return Call(name, args, kwargs)


@dataclass(frozen=True, slots=True)
class Result:
    """What one call returned (array, dict for a structure, ``Rows`` for several) and the ``last_error`` right after it.

    ``raised`` is the class name of an exception that the call ended with; ``text`` then holds its message.
    """

    value: Any
    code: int
    text: str
    raised: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The results of a list of calls, in its order. ``took``: virtual seconds, as a simulated backend counts them."""

    results: tuple[Result, ...]
    took: float


class Link(Protocol):
    """A backend within reach. Requests are answered one at a time, urgent ones first."""

    @property
    def generation(self) -> int:
        """Goes up whenever the backend was replaced; a new one has to be initialized again."""

    async def start(self) -> None:
        """Open the backend. Raises ``Invalid`` with one sentence when its options are wrong or it cannot exist here."""

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        """Run ``calls`` in order within ``deadline`` seconds.

        Refused (``not_sent``): none of them ran. Unknown (``timeout``, ``link_down``): any of them may have run, and
        the backend is replaced.
        """

    async def close(self) -> None:
        """End it. Requests that wait are Refused, the one in flight is Unknown; later ones are Refused."""


def read_reply(body: bytes, number: int) -> Reply:
    """The answer to request ``number``. Raises ``BadFrame``."""
    head, blobs = unpack(body)
    try:
        if head["id"] != number:
            message = f"an answer to request {head['id']} where {number} was asked"
            raise BadFrame(message)
        results = tuple(_result(coded, blobs) for coded in head["results"])
        return Reply(results, float(head["took"]))
    except (KeyError, IndexError, TypeError) as error:
        message = f"no answer that can be read ({error!r})"
        raise BadFrame(message) from error


def _result(coded: Sequence[Any], blobs: Sequence[bytes]) -> Result:
    value, code, text = coded
    if value[0] == "x":
        return Result(None, code, value[2], raised=value[1])
    return Result(decode(value, blobs), code, text)


def missed(calls: Sequence[Call], deadline: float) -> Unknown:
    """The outcome of calls that were not answered in time."""
    return Unknown(
        "timeout", f"{_names(calls)} was not answered within {deadline:g} s; the terminal process was replaced"
    )


def not_sent(why: str) -> Refused:
    """The outcome of calls that never left this process."""
    return Refused("not_sent", why)


def _names(calls: Sequence[Call]) -> str:
    return calls[0].name if len(calls) == 1 else f"{calls[0].name} and {len(calls) - 1} more"


class InlineLink:
    """The backend in this process. Satisfies ``Link``.

    Deadlines are judged by the virtual seconds the backend reports; a missed one drops its connection, as a kill would.
    """

    def __init__(
        self,
        backend: str,
        options: Mapping[str, Any],
        *,
        wall: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._opening = (backend, options, wall, sleep)
        self._backend: dispatch.Backend = None
        self._generation = 0

    @property
    def generation(self) -> int:
        """See ``Link``."""
        return self._generation

    async def start(self) -> None:
        """See ``Link``."""
        try:
            self._backend = dispatch.open_backend(*self._opening)
        except ValueError as error:
            raise Invalid(str(error)) from error
        self._generation = 1

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        """See ``Link``; nothing ever waits here, so ``urgent`` changes nothing."""
        del urgent
        if self._backend is None:
            return not_sent("the link to the terminal is closed")
        # Through a frame and back, so that values arrive here exactly as from the child.
        asked, _ = unpack(pack({"id": self._generation, "calls": calls})[4:])
        reply = read_reply(pack(*dispatch.answer(self._backend, asked))[4:], self._generation)
        if reply.took > deadline:
            self._backend.shutdown()
            self._generation += 1
            return missed(calls, deadline)
        return Done(reply)

    async def close(self) -> None:
        """See ``Link``."""
        if self._backend is not None:
            self._backend.shutdown()
        self._backend = None
