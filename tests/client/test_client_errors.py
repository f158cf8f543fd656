from __future__ import annotations

import inspect

import httpx
import pytest

import dtms_client
from dtms_client import errors
from dtms_client.calls import ready
from dtms_client.errors import DtmsClientError
from dtms_client.http import Target, send
from dtms_client.wire import Problem

TREE = {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, DtmsClientError)}


def test_every_error_is_drawn_in_the_tree_and_exported_and_says_what_to_try() -> None:
    for name, cls in TREE.items():
        assert name in (errors.__doc__ or "")
        assert getattr(dtms_client, name) is cls
        assert cls.hint.endswith(".")
        assert cls().detail


def test_the_exports_are_sorted_and_exist() -> None:
    assert dtms_client.__all__ == sorted(dtms_client.__all__)
    for name in dtms_client.__all__:
        getattr(dtms_client, name)


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (422, "validation_failed", "Invalid"),
        (413, "payload_too_large", "Invalid"),
        (415, "unsupported_media_type", "Invalid"),
        (404, "trade_not_found", "NotFound"),
        (409, "registration_conflict", "Conflict"),
        (409, "not_in_this_mode", "Rejected"),
        (401, "unauthorized", "Unauthorized"),
        (403, "forbidden", "Unauthorized"),
        (421, "host_not_allowed", "Rejected"),
        (405, "method_not_allowed", "Rejected"),
        (429, "rate_limited", "RateLimited"),
        (503, "not_accepting", "NotReady"),
        (503, "storage_busy", "NotReady"),
        (500, "internal_error", "NotReady"),
    ],
)
def test_every_code_of_the_service_has_its_error(status: int, code: str, name: str) -> None:
    problem = Problem(title="t", status=status, detail="d", code=code, retryable=status >= 429)
    error = errors.of_problem(problem)
    assert type(error).__name__ == name
    assert error.problem is problem


def test_too_many_requests_are_not_answered_with_waiting_for_a_start() -> None:
    error = errors.of_problem(Problem(title="t", status=429, detail="d", code="rate_limited", retryable=True))
    assert isinstance(error, errors.NotReady)
    assert "wait-ready" not in error.hint
    assert "loop" in error.hint


@pytest.mark.parametrize(
    ("status", "code", "remedy", "wrong"),
    [
        (404, "not_found", "dtms alerts list", "dtms trades"),
        (409, "not_in_this_mode", "dtms reset", "Correct the request"),
    ],
)
def test_what_to_try_fits_the_code(status: int, code: str, remedy: str, wrong: str) -> None:
    error = errors.of_problem(Problem(title="t", status=status, detail="d", code=code, retryable=False))
    assert remedy in error.hint
    assert wrong not in error.hint


def _all_below(cls: type) -> set[type]:
    return {cls, *(found for sub in cls.__subclasses__() for found in _all_below(sub))}


@pytest.mark.parametrize("cls", sorted(_all_below(httpx.RequestError), key=lambda cls: cls.__name__))
def test_every_error_of_the_http_library_becomes_one_of_ours(cls: type[httpx.RequestError]) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise cls("it happened", request=request)

    with pytest.raises(DtmsClientError, match="it happened"):
        send(Target("http://dtms.test", transport=httpx.MockTransport(fail)), ready(), 1.0)
