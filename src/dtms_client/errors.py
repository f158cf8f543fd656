"""What can go wrong for a caller, as one tree. A class's docstring is its default message, `hint` says what to try.

::

    DtmsClientError
    ├── Unreachable          nothing answered, or not in time
    │   └── NotDtms          something answers there, and it is not DTMS
    ├── NotReady             DTMS answers, but cannot do it now (503, 5xx)
    │   └── RateLimited      too many requests from this token or address (429)
    ├── Rejected             DTMS decided against it; the same request will not succeed
    │   ├── Invalid          the request makes no sense (also found before anything is sent)
    │   │   └── BadSetting   a DTMS_* variable or the [api] table holds a value that cannot be used
    │   ├── Conflict         it contradicts what the terminal shows
    │   └── Unauthorized     the token is missing, unknown or too weak
    ├── NotFound             no such trade
    └── OutboxUnavailable    a registration could not be stored on disk
        └── OutboxFull       the outbox has reached its bounds
"""

from __future__ import annotations

import inspect

from dtms_client.wire import Problem


class DtmsClientError(Exception):
    """The request to DTMS failed."""

    hint: str = "Run 'dtms-client status' to see what DTMS says about itself."

    def __init__(
        self, detail: str | None = None, *, problem: Problem | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail or inspect.cleandoc(type(self).__doc__ or ""))
        self.problem = problem
        """The server's own words, if it said any."""
        self.retry_after = retry_after
        """Seconds the server asked us to wait."""

    @property
    def detail(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class Unreachable(DtmsClientError):
    """DTMS did not answer."""

    hint = "Is the service running? Start it with 'dtms serve', and check DTMS_API_HOST and DTMS_API_PORT."

    def __init__(
        self,
        detail: str | None = None,
        *,
        problem: Problem | None = None,
        retry_after: float | None = None,
        connected: bool = True,
    ) -> None:
        super().__init__(detail, problem=problem, retry_after=retry_after)
        self.connected = connected
        """False: no connection came about, so nothing was sent."""


class NotDtms(Unreachable):
    """Something that is not DTMS answers at this address."""

    hint = "Another program uses this port. Free it, or set DTMS_API_PORT for the service and for every client."


class NotReady(DtmsClientError):
    """DTMS answers, but cannot do this now."""

    hint = "Wait for it with 'dtms-client wait-ready'; GET /health/ready names the reasons."


class RateLimited(NotReady):
    """There were too many requests from this token or address."""

    hint = "Wait a few seconds; find the program in a loop, or give each program a token of its own."


class Rejected(DtmsClientError):
    """DTMS decided against this request; repeating it will not help."""

    hint = "Correct the request; the answer above says what is wrong with it."


class Invalid(Rejected):
    """The request does not make sense."""


class BadSetting(Invalid):
    """A setting holds a value that cannot be used."""

    hint = "Correct or unset the variable named above."


class Conflict(Rejected):
    """The request contradicts what the terminal shows, or who owns the trade."""

    hint = "Compare both values in the answer: the terminal is the truth."


class Unauthorized(Rejected):
    """DTMS does not accept the token."""

    hint = "Set DTMS_API_TOKEN to a token that has the scope this request needs."


class NotFound(DtmsClientError):
    """DTMS knows no such trade."""

    hint = "List what it knows with 'dtms trades', or register the trade with 'dtms-client register TICKET'."


class OutboxUnavailable(DtmsClientError):
    """The registration could not be stored on disk."""

    hint = "Check free space and permissions of the outbox folder (DTMS_SPOOL_DIR), then register the trade again."


class OutboxFull(OutboxUnavailable):
    """The outbox has reached its bounds; nothing in it was dropped."""

    hint = "Bring DTMS up so that the outbox empties, or run 'dtms-client outbox list' to see what waits."


def of_problem(problem: Problem, retry_after: float | None = None) -> DtmsClientError:
    """Turn the server's problem document into the error a caller can catch."""
    cls = _BY_STATUS.get(problem.status)
    if cls is None:
        cls = NotReady if problem.status >= 500 or problem.retryable else Rejected
    if problem.code == "not_in_this_mode":
        cls = Rejected
    error = cls(problem.detail or problem.title, problem=problem, retry_after=retry_after)
    error.hint = _HINT_OF_CODE.get(problem.code, cls.hint)
    return error


_HINT_OF_CODE = {
    "not_found": "Look at what there is: 'dtms alerts list' shows the alerts, GET /openapi.json every path.",
    "not_in_this_mode": "'dtms status' shows mode and control; 'dtms reset' ends a halt, 'dtms resume' a pause.",
}
"""What to try where the status says too little."""

_BY_STATUS: dict[int, type[DtmsClientError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    408: NotReady,
    409: Conflict,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    425: NotReady,
    429: RateLimited,
}
