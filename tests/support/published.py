"""The published MetaTrader5 package, read without running it: its wheel is a zip, its extension a Windows DLL.

Constants stand in ``__init__.py``. Structures, functions and the layout of arrays are tables and code of the DLL
(PE/COFF specification; CPython's ``PyStructSequence_Desc`` and ``PyMethodDef``).
"""

from __future__ import annotations

import ast
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VERSION = "5.0.6231"
KEYWORDS, NO_ARGUMENTS = 0x0002, 0x0004
"""``METH_KEYWORDS`` and ``METH_NOARGS`` of CPython."""
STRUCTS = (
    "AccountInfo", "BookInfo", "OrderCheckResult", "OrderSendResult", "SymbolInfo", "TerminalInfo", "Tick", "TradeDeal",
    "TradeOrder", "TradePosition", "TradeRequest",
)  # fmt: skip
_ARRAYS = {
    "rates": ("time", "open", "high", "low", "close", "tick_volume", "spread", "real_volume"),
    "ticks": ("time", "bid", "ask", "last", "volume", "time_msc", "flags", "volume_real"),
}


class Offline(Exception):
    """The package could not be downloaded."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the package has. ``functions``: how each is called; ``offsets``: of each field in a row of an array."""

    version: str
    constants: Mapping[str, int]
    structs: Mapping[str, list[str]]
    functions: Mapping[str, str]
    offsets: Mapping[str, Mapping[str, int]]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def download(folder: Path) -> Path:
    """The wheel, fetched by the environment's own pip and its configuration. Raises ``Offline``."""
    command = [sys.executable, "-m", "pip", "download", f"MetaTrader5=={VERSION}", "--no-deps", "--quiet"]
    command += ["--only-binary=:all:", "--platform=win_amd64", "--python-version=3.11", "--dest", str(folder)]
    command += ["--retries=1", "--timeout=15", "--disable-pip-version-check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired as error:
        raise Offline(str(error)) from error
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise Offline(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip said nothing")
    return wheels[0]


def read(wheel: Path) -> Facts:
    """Everything that is compared."""
    with zipfile.ZipFile(wheel) as archive:
        extension = next(name for name in archive.namelist() if name.endswith(".pyd"))
        tree = ast.parse(archive.read("MetaTrader5/__init__.py").decode("utf-8-sig"))
        library = _Library(archive.read(extension))
    values = _assigned(tree)
    return Facts(
        version=str(values["__version__"]),
        constants={name: value for name, value in values.items() if isinstance(value, int)},
        structs=dict(sorted(library.structs())),
        functions=dict(sorted(library.functions())),
        offsets={kind: library.offsets(names) for kind, names in _ARRAYS.items()},
    )


def _assigned(tree: ast.Module) -> dict[str, Any]:
    """Names and values of the module's plain assignments: numbers, text, and numbers joined by ``|``."""
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = _value(node.value, found)
    return found


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _value(node.left, known) | _value(node.right, known)
    if isinstance(node, ast.Name):
        return known[node.id]
    return ast.literal_eval(node)


class _Library:
    """A 64-bit DLL laid out as it would be in memory."""

    def __init__(self, raw: bytes) -> None:
        header = struct.unpack_from("<I", raw, 0x3C)[0]
        count, size = struct.unpack_from("<H", raw, header + 6)[0], struct.unpack_from("<H", raw, header + 20)[0]
        self._base = struct.unpack_from("<Q", raw, header + 48)[0]
        self._sections: dict[str, tuple[int, int]] = {}
        image = bytearray()
        for number in range(count):
            entry = header + 24 + size + 40 * number
            name = raw[entry : entry + 8].rstrip(b"\0").decode()
            length, address, stored, start = struct.unpack_from("<IIII", raw, entry + 8)
            self._sections[name] = (address, address + length)
            image.extend(b"\0" * (address + max(length, stored) - len(image)))
            image[address : address + stored] = raw[start : start + stored]
        self._image = bytes(image)

    def structs(self) -> Iterator[tuple[str, list[str]]]:
        """``PyStructSequence_Desc``: name, doc, pointer to (name, doc) pairs, number of fields."""
        for place in self._pointers(".data", 32):
            name = self._text(self._at(place))
            fields, count = self._at(place + 16) - self._base, struct.unpack_from("<i", self._image, place + 24)[0]
            if name in STRUCTS and 0 < count < 200 and 0 < fields < len(self._image) - 16 * count:
                yield name, [self._text(self._at(fields + 16 * n)) or "?" for n in range(count)]

    def functions(self) -> Iterator[tuple[str, str]]:
        """``PyMethodDef``: name, address of the code, flags, doc."""
        code = self._sections[".text"]
        for place in self._pointers(".data", 32):
            name = self._text(self._at(place))
            target = self._at(place + 8) - self._base
            flags = struct.unpack_from("<i", self._image, place + 16)[0]
            if name and name.isidentifier() and code[0] <= target < code[1] and flags in {1, 3, NO_ARGUMENTS}:
                yield name, {1: "positional", 3: "keywords", NO_ARGUMENTS: "none"}[flags]

    def offsets(self, names: tuple[str, ...]) -> dict[str, int]:
        """Where each field lies in a row: the code loads an offset (``mov r8d``) and then the field's name.

        The code that builds the other array uses other names, and is told by the first that only one of them has.
        """
        begin, end = self._sections[".text"]
        pairs: list[tuple[int, str]] = []
        offset: int | None = None
        place = begin
        while place < end - 7:
            if self._image[place : place + 3] == b"\x45\x33\xc0":
                offset = 0
            elif self._image[place : place + 2] == b"\x41\xb8":
                offset = struct.unpack_from("<i", self._image, place + 2)[0]
            elif (
                offset is not None
                and self._image[place] in {0x48, 0x4C}
                and self._image[place + 1] == 0x8D
                and self._image[place + 2] & 0xC7 == 5
            ):
                target = place + 7 + struct.unpack_from("<i", self._image, place + 3)[0]
                text = self._text(self._base + target)
                if text in names:
                    pairs.append((offset, text))
                    offset = None
            place += 1
        for start in range(len(pairs)):
            run = pairs[start : start + len(names)]
            if [name for _, name in run] == list(names):
                return {name: at for at, name in run}
        return {}

    def _pointers(self, section: str, room: int) -> Iterator[int]:
        begin, end = self._sections[section]
        return (place for place in range(begin, end - room, 8) if self._at(place))

    def _at(self, place: int) -> int:
        value: int = struct.unpack_from("<Q", self._image, place)[0]
        return value

    def _text(self, address: int) -> str | None:
        place = address - self._base
        if not 0x1000 <= place < len(self._image):
            return None
        found = re.compile(rb"[\x20-\x7e]+").match(self._image, place)
        return found[0].decode() if found else None
