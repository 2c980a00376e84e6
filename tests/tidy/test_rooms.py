"""Imports go down only: a room knows the rooms below it, and nobody else."""

from __future__ import annotations

import ast

import pytest

from tests.tidy.source import ROOT, Module, modules

# Room: the rooms that it may import. Rooms side by side meet in `model`, not in each other.
MAY_IMPORT = {
    "base": set(),
    "transport": {"base"},
    "ovsdb": {"base"},
    "daemon": {"base", "transport", "ovsdb", "control"},
    "fields": {"base"},
    "packet": {"base", "fields"},
    "model": {"base", "fields"},
    "messages": {"base", "fields", "model"},
    "text": {"base", "fields", "packet", "model", "messages"},
    "policy": {"base", "fields", "packet", "model"},
    "datapath": {"base", "fields", "packet", "model"},
    "openflow": {"base", "fields", "model", "messages"},
    "ofproto": {"base", "fields", "packet", "model", "messages"},
    "control": {"base"},
    "host": {"base", "fields", "model", "datapath"},
    "upcalls": {"base", "fields", "model", "datapath"},
    "api": {"base", "fields", "packet", "model", "text", "policy", "datapath", "upcalls"},
    "bridge": {
        "base",
        "control",
        "fields",
        "packet",
        "model",
        "messages",
        "text",
        "datapath",
        "openflow",
        "ofproto",
        "upcalls",
        "api",
        "transport",
    },
    "vswitchd": {
        "base",
        "control",
        "model",
        "messages",
        "text",
        "datapath",
        "openflow",
        "ofproto",
        "api",
        "transport",
        "bridge",
        "host",
        "ovsdb",
        "daemon",
    },
    "cli": {
        "base",
        "control",
        "fields",
        "packet",
        "model",
        "messages",
        "text",
        "datapath",
        "openflow",
        "upcalls",
        "api",
        "bridge",
        "transport",
        "ovsdb",
        "daemon",
        "vswitchd",
        "",
    },
    "": {
        "base",
        "fields",
        "model",
        "messages",
        "text",
        "policy",
        "api",
        "bridge",
        "cli",
    },  # vswitch/__init__.py and __main__.py
}

# What programs may import besides `vswitch` itself.
PUBLIC = {"vswitch.api", "vswitch.packet", "vswitch.testing"}

# Time, chance and the outside world are arguments there.
PURE = {"base", "fields", "packet", "model", "messages", "text", "policy", "openflow", "ofproto", "ovsdb", "control"}
MAY_ACT = {
    "vswitch.policy.state": {"threading"},  # threads may change state
    "vswitch.ovsdb.log": {"fcntl", "os"},  # the file of a database
}
IMPURE_MODULES = {
    "asyncio",
    "ctypes",
    "fcntl",
    "mmap",
    "multiprocessing",
    "os",
    "pyroute2",
    "random",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
}


def identity(module: Module) -> str:
    return module.name


@pytest.mark.parametrize("module", modules(), ids=identity)
def test_imports_go_down(module: Module) -> None:
    known = {other.name: other.room for other in modules()}
    wrong = [
        f"line {line}: {name}"
        for name, line in module.imports()
        if name in known and known[name] != module.room and known[name] not in MAY_IMPORT[module.room]
        if not (name == "vswitch" and module.room == "")
    ]
    assert not wrong, f"{module.name} imports what is not below it"


@pytest.mark.parametrize("module", [module for module in modules() if module.room in PURE], ids=identity)
def test_pure_rooms_stay_pure(module: Module) -> None:
    impure = IMPURE_MODULES - MAY_ACT.get(module.name, set())
    wrong = [f"line {line}: {name}" for name, line in module.imports() if name.split(".")[0] in impure]
    assert not wrong, f"{module.name} reaches out"


def test_every_room_is_in_the_table() -> None:
    assert {module.room for module in modules()} <= set(MAY_IMPORT)


def test_examples_use_the_public_api_only() -> None:
    for path in sorted((ROOT / "examples").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            inner = [name for name in names if name.startswith("vswitch.") and name not in PUBLIC]
            assert not inner, f"{path.name} line {getattr(node, 'lineno', 0)}: {inner} is not public"
