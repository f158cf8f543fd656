"""The reference of the client says what the client is: every signature, error, outcome and switch, and no other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import dtms_client
from dtms_client import AsyncDtmsClient, DtmsClient, DtmsClientError, Registration, legacy, posting
from dtms_client.announce import Opening
from dtms_client.testing import FakeDtms
from dtms_client.wire import RegistrationOutcome
from dtms_client.wiring import Client

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "client.md").read_text("utf-8")
CALLABLE = re.compile(r"`([A-Za-z_]+\([^`]*\))`")


def signature(name: str, function: Callable[..., Any]) -> str:
    found = inspect.signature(function)
    bare = [each.replace(annotation=each.empty) for key, each in found.parameters.items() if key != "self"]
    return name + str(found.replace(parameters=bare, return_annotation=found.empty))


def methods(cls: type) -> Iterator[str]:
    for name, member in vars(cls).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            yield signature(name, member)


def functions(module: Any) -> Iterator[str]:
    for name, member in vars(module).items():
        if inspect.isfunction(member) and member.__module__ == module.__name__ and not name.startswith("_"):
            yield signature(name, member)


def test_every_signature_is_on_the_page_and_every_one_on_the_page_exists() -> None:
    ours = {
        signature("DtmsClient", Client.__init__),
        *methods(DtmsClient),
        *methods(Opening),
        *functions(legacy),
        *functions(posting),
    }
    assert set(CALLABLE.findall(PAGE)) - {"json()"} == ours


def test_the_asynchronous_client_has_the_same_methods_but_the_one_for_loops() -> None:
    assert set(methods(DtmsClient)) - set(methods(AsyncDtmsClient)) == {"enqueue(ticket, trade_data=None, **fields)"}
    assert set(methods(AsyncDtmsClient)) <= set(methods(DtmsClient))


def test_every_error_is_on_the_page() -> None:
    errors = {
        name
        for name in dtms_client.__all__
        if isinstance(found := getattr(dtms_client, name), type) and issubclass(found, DtmsClientError)
    }
    listed = set(re.findall(r"^\| `([A-Z]\w+)` \|", PAGE, re.MULTILINE))
    assert listed == errors - {"DtmsClientError"}


def test_every_outcome_field_and_switch_is_on_the_page() -> None:
    names = {*get_args(RegistrationOutcome), "queued", "rejected"}
    names |= set(vars(Registration)["__dataclass_fields__"])
    names |= {name for name in vars(FakeDtms()) if name != "handler"}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
