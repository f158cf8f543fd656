"""A package ``dtms_integration`` that passes everything on to the client, for callers that stay as they are."""

from __future__ import annotations

from pathlib import Path

from dtms_service.migrate.names import KEPT, LEGACY, OLD_PACKAGE, SHIM_MARK
from dtms_service.migrate.writing import Refused, clean, replace

ASIDE = ".replaced"
"""Behind the name of an old package that made way; with a dot in it nothing can import it."""


def files() -> dict[str, str]:
    """Path inside the folder -> content."""
    names = sorted(KEPT)
    lines = "".join(f"    {name},\n" for name in names)
    listed = "".join(f'    "{name}",\n' for name in names)
    body = f"from {LEGACY} import (\n{lines})\n\n__all__ = [\n{listed}]\n"
    head = f'"""The old names, each of them asking the one DTMS. {SHIM_MARK}."""\n\n'
    return {f"{OLD_PACKAGE}/__init__.py": head + body, f"{OLD_PACKAGE}/dtms_system.py": head + body}


def write(root: Path, *, replace_old: bool, force: bool) -> tuple[list[str], Path | None]:
    """Write the package; what was written, and where an old package was moved, if there was one.

    Raises `Refused` when there is an old package and ``replace_old`` is not set, or when the git tree has changes that
    are not committed. A package that is ours already and up to date is left alone.
    """
    package = root / OLD_PACKAGE
    wanted = {root / name: content.encode() for name, content in files().items()}
    if all(file.is_file() and file.read_bytes() == content for file, content in wanted.items()):
        return [], None
    moved = None
    if package.exists() and not is_ours(package):
        if not replace_old:
            raise Refused(
                f"{package} is there already; nothing was written. Try: --shim --apply, which moves it to "
                f"{package.name}{ASIDE} and puts the new one in its place"
            )
        clean(root, force=force)
        moved = _free(package)
        package.rename(moved)
    package.mkdir(exist_ok=True)
    for file, content in wanted.items():
        replace(file, content)
    return sorted(file.relative_to(root).as_posix() for file in wanted), moved


def is_ours(package: Path) -> bool:
    """Whether it was written by us."""
    first = package / "__init__.py"
    return first.is_file() and SHIM_MARK.encode() in first.read_bytes()


def _free(package: Path) -> Path:
    """A name beside the package that nothing has yet."""
    aside = package.with_name(package.name + ASIDE)
    number = 1
    while aside.exists():
        number += 1
        aside = package.with_name(f"{package.name}{ASIDE}-{number}")
    return aside
