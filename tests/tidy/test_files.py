"""Every file: of a size that can be read, with its theory, and fit for any machine."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests.tidy.source import ROOT, Module, modules, project_files

MAX_LINES = 700
GENERATED = {"docs/fields.md", "src/vswitch/datapath/ebpf/bpf/flow_key.h", "LICENSE"}

# Written in parts, so that this file passes too.
UNFINISHED = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]
PATHS_OF_ONE_MACHINE = ["/wo" + "rk", "/var/" + "tmp", "/ho" + "me", "/ro" + "ot"]
FORBIDDEN = re.compile(
    rf"\b({'|'.join(UNFINISHED)})\b|(?<![\w.~$}}])({'|'.join(map(re.escape, PATHS_OF_ONE_MACHINE))})\b"
)


def identity(value: Module | Path) -> str:
    return value.name if isinstance(value, Module) else str(value.relative_to(ROOT))


def text_files() -> list[Path]:
    return [path for path in project_files() if b"\0" not in path.read_bytes()[:8192]]


def test_no_file_is_too_long_to_read() -> None:
    long = {
        identity(path): lines
        for path in text_files()
        if path.suffix in (".py", ".c", ".h") and identity(path) not in GENERATED
        if (lines := path.read_text(encoding="utf-8").count("\n")) > MAX_LINES
    }
    assert not long, f"more than {MAX_LINES} lines"


@pytest.mark.parametrize("path", text_files(), ids=identity)
def test_no_unfinished_business_and_no_path_of_one_machine(path: Path) -> None:
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    found = [f"line {number}: {line.strip()}" for number, line in lines if FORBIDDEN.search(line)]
    assert not found


@pytest.mark.parametrize("path", text_files(), ids=identity)
def test_text_ends_well(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "\r" not in text, "line ends of another system"
    assert not text or text.endswith("\n"), "no newline at the end"
    trailing = [number for number, line in enumerate(text.splitlines(), 1) if line != line.rstrip()]
    assert not trailing or path.suffix == ".md", f"blanks at the end of lines {trailing}"


@pytest.mark.parametrize("module", modules(), ids=identity)
def test_module_opens_with_its_theory(module: Module) -> None:
    docstring = ast.get_docstring(module.tree)
    assert docstring, "no docstring"
    assert docstring.splitlines()[0].rstrip().endswith((".", ":", "]`.", "?")), "the first line is no sentence"


def defines(tree: ast.Module) -> set[str]:
    """The public functions, classes and imports at the top level of a module; constants explain themselves."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("module", [module for module in modules() if module.is_public], ids=identity)
def test_public_module_says_what_it_offers(module: Module) -> None:
    if module.name.endswith("__main__") or not defines(module.tree):
        return
    declared = [
        ast.literal_eval(node.value)
        for node in module.tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    assert len(declared) == 1, "no __all__"
    assert len(set(declared[0])) == len(declared[0]), "a name twice in __all__"


def test_all_is_the_public_api() -> None:
    package = importlib.import_module("vswitch")
    rooms = [
        importlib.import_module(f"vswitch.{room}")
        for room in ("api", "base.errors", "bridge", "model", "policy", "text")
    ]
    assert set(package.__all__) == {name for room in rooms for name in room.__all__}
    assert all(hasattr(package, name) for name in package.__all__)
