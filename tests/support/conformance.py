"""Ours against the real package: constants, structures, functions, arrays."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from published import Facts

from dtms_service.terminal.simulated import structs
from dtms_service.terminal.simulated.backend import SimulatedTerminal
from dtms_service.terminal.simulated.constants import Constants

OURS_ALONE = {"TRADE_RETCODE_HEDGE_PROHIBITED", "SYMBOL_FILLING_FOK", "SYMBOL_FILLING_IOC", "SYMBOL_ORDER_CLOSEBY"}
"""Named in the documentation of MQL5 and absent from the Python package."""
NOT_OFFERED = {"_asdict"}
"""A function of the module there, a method of every structure here and there."""


def differences(facts: Facts) -> list[str]:
    """One sentence per difference; empty when the simulated terminal is what the package is."""
    return [*_constants(facts), *_structs(facts), *_functions(facts), *_arrays(facts)]


def _constants(facts: Facts) -> Iterator[str]:
    ours = {name: value for name, value in vars(Constants).items() if name.isupper()}
    for name in sorted(ours.keys() | facts.constants.keys()):
        if ours.get(name) != facts.constants.get(name) and name not in OURS_ALONE:
            yield f"constant {name} is {facts.constants.get(name)} there and {ours.get(name)} here"


def _structs(facts: Facts) -> Iterator[str]:
    for name, fields in facts.structs.items():
        ours = list(getattr(getattr(structs, name, None), "names", ()))
        if ours != fields:
            yield f"structure {name} has the fields {fields} there and {ours} here"


def _functions(facts: Facts) -> Iterator[str]:
    for name, called in facts.functions.items():
        if name not in NOT_OFFERED and (ours := _called(name)) != called:
            yield f"function {name} takes {called} arguments there and {ours} here"


def _called(name: str) -> str | None:
    """``positional``, ``keywords`` or ``none`` arguments; None for a function that does not exist."""
    function = getattr(SimulatedTerminal, name, None)
    if function is None:
        return None
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if not parameters:
        return "none"
    kinds = {parameter.kind for parameter in parameters}
    return "positional" if kinds == {inspect.Parameter.POSITIONAL_ONLY} else "keywords"


def _arrays(facts: Facts) -> Iterator[str]:
    described: dict[str, Any] = {"rates": structs.RATES_DTYPE, "ticks": structs.TICKS_DTYPE}
    for kind, columns in described.items():
        fields = np.dtype(columns).fields or {}
        ours = {name: int(place[1]) for name, place in fields.items()}
        if ours != facts.offsets[kind]:
            yield f"a row of {kind} is laid out as {facts.offsets[kind]} there and {ours} here"
