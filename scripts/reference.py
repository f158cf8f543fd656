#!/usr/bin/env python3
"""Write ``docs/reference/settings.md`` and the engine's part of ``config/dtms.toml`` from the settings tree.

Tests compare; run this after changing a setting.

Runs inside the environment: ``.venv/bin/python scripts/reference.py``.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dtms_service.domain.bounds import LIMITS, ORDERS
from dtms_service.domain.parameters import Parameters
from dtms_service.settings.loading import OTHERS, SHORT_NAMES
from dtms_service.settings.tree import DERIVED, Section, Settings, fields_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "settings.md"
FILE = ROOT / "config" / "dtms.toml"
HEAD = """\
# Settings

<!-- Written by scripts/reference.py from the settings tree and domain/parameters.py. -->

Order: command line, then environment, then the TOML file (`--config`, else `DTMS_CONFIG`, else `config/dtms.toml` under
the working directory), then the defaults below. An unknown key in the file ends the start with exit code 78 and names
the nearest known one; an unknown `DTMS_*` variable is a warning. `dtms config show` prints every value and its origin.

In the environment a setting is `DTMS_` and its name with `__` for each dot; a list is a JSON list or one bare value.
Dates without a zone are UTC.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, cls, prefix in _groups(Settings, "", "General"):
        parts.append(
            f"\n## {title}\n\n{inspect.getdoc(cls) or ''}\n\n| setting | type | default | meaning |\n|---|---|---|---|"
        )
        docs = documented(cls)
        for name, kind, default in fields_of(cls):
            if not _is_group(kind):
                plain = f"`{_plain(default)}`" if default not in (None, ()) else "none"
                shown = DERIVED.get(prefix + name, plain)
                kinds = _type(kind) + (_limits(name) if cls is Parameters else "")
                parts.append(f"| `{prefix}{name}` | {kinds} | {shown} | {docs[name]} |")
        if cls is Parameters:
            parts.append("\nHow they must lie to each other; the start ends with exit code 78 otherwise:\n")
            parts += [f"* `{order.words}`, otherwise {order.why}" for order in ORDERS]
    parts.append("\n## Short environment names\n\n| variable | setting |\n|---|---|")
    parts += [f"| `{variable}` | `{name}` |" for variable, name in SHORT_NAMES.items()]
    others = ", ".join(f"`{name}`" for name in sorted(OTHERS))
    parts.append(f"\nNo settings of the service, and no warning either: {others}.\n")
    return "\n".join(parts)


def engine_section(text: str) -> str:
    """The commented default file with its last section, the engine's parameters, written anew."""
    lines = [f"# {name} = {_toml(default)}" for name, _, default in fields_of(Parameters)]
    return text.partition("[engine]\n")[0] + "\n".join(["[engine]", *lines, ""])


def documented(cls: type) -> dict[str, str]:
    """The docstring under each attribute of a class, on one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    found: dict[str, str] = {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for before, after in pairwise(body):
        if not (
            isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr)
        ):
            continue
        if isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            found[before.target.id] = " ".join(after.value.value.split())
    return found


def _groups(cls: type, prefix: str, title: str) -> Iterator[tuple[str, type, str]]:
    yield title, cls, prefix
    for name, kind, _ in fields_of(cls):
        if _is_group(kind):
            yield from _groups(kind, f"{prefix}{name}.", f"`[{prefix}{name}]`")


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and (issubclass(kind, Section) or dataclasses.is_dataclass(kind))


def _plain(default: Any) -> str:
    if isinstance(default, tuple):
        return str(list(default)).replace("'", '"')
    return str(default).lower() if isinstance(default, bool) else str(default)


def _toml(default: Any) -> str:
    return f'"{default}"' if isinstance(default, str) else _plain(default)


def _limits(name: str) -> str:
    """The limits of a parameter, both included; nothing for a word."""
    return f", {LIMITS[name].least:g} to {LIMITS[name].most:g}" if name in LIMITS else ""


def _type(kind: Any) -> str:
    """A type in words that fit a configuration file."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin in {Union, types.UnionType}:
        return " or ".join(_type(one) for one in arguments if one is not type(None))
    names = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
        "datetime": "date and time",
    }
    names |= {
        "Path": "path",
        "SecretStr": "secret text",
        "Mode": "`observe` or `protect`",
        "Policy": "`alert`, `observe` or `adopt`",
        "Token": "`{sha256, scopes}`",
        "SimulatedSymbol": "`{name, …}`",
    }
    return names.get(kind.__name__, re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).lower())


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    FILE.write_text(engine_section(FILE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE} and {FILE}")
