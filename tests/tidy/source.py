"""What the tidiness tests look at: the files of the project, and the Python modules among them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "Module", "modules", "project_files"]

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "vswitch"


@dataclass(frozen=True)
class Module:
    """A module of the package. `name` is dotted: `vswitch.model.match`."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder below `vswitch` that it is in; empty for `vswitch` itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""

    @property
    def is_public(self) -> bool:
        """Whether other rooms may know it."""
        return not any(part.startswith("_") for part in self.name.split("."))

    def imports(self) -> Iterator[tuple[str, int]]:
        """The modules imported, anywhere in it, with the line; of `from a import b` both `a` and `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module, node.lineno
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@cache
def modules() -> tuple[Module, ...]:
    """All modules of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found.append(Module(path, name, text, ast.parse(text, str(path))))
    return tuple(found)


@cache
def project_files() -> tuple[Path, ...]:
    """The files that are, or are about to be, in the repository."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return tuple(sorted(ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()))
