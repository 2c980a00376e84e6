"""Compiling eBPF: only when needed, and with errors that name the fault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vswitch.base.errors import ConfigError, MachineError
from vswitch.datapath.ebpf import compile as module
from vswitch.datapath.ebpf.compile import compile_object, find_compiler

PROGRAM = """
#include "part.h"
__attribute__((section("tc"), used)) int program(void *context) { return context ? PART : 0; }
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "part.h").write_text("#define PART 1\n")
    path = tmp_path / "program.c"
    path.write_text(PROGRAM)
    return path


def touch(path: Path, *, after: Path) -> None:
    later = after.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))


def test_object_is_ebpf_with_btf_and_knows_no_path(source: Path, tmp_path: Path) -> None:
    made = tmp_path / "out" / "program.o"
    assert compile_object(source, made)
    data = made.read_bytes()
    assert data[:4] == b"\x7fELF"
    assert int.from_bytes(data[18:20], "little") == 247  # EM_BPF
    assert b".BTF.ext" in data
    assert str(tmp_path).encode() not in data
    assert list(made.parent.iterdir()) == [made]


def test_object_is_made_again_only_when_something_changed(source: Path, tmp_path: Path) -> None:
    made = tmp_path / "program.o"
    assert compile_object(source, made)
    touch(made, after=Path(module.__file__))
    assert compile_object(source, made, force=True)
    assert not compile_object(source, made)
    for changed in (source, tmp_path / "part.h"):
        touch(changed, after=made)
        assert compile_object(source, made)
        os.utime(changed, ns=(0, 0))


def test_headers_are_found_in_other_folders(source: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "part.h").rename(tmp_path / "other" / "part.h")
    with pytest.raises(ConfigError, match=r"part\.h"):
        compile_object(source, tmp_path / "program.o")
    assert compile_object(source, tmp_path / "program.o", [tmp_path / "other"])


def test_refused_source_leaves_the_old_object(source: Path, tmp_path: Path) -> None:
    made = tmp_path / "program.o"
    compile_object(source, made)
    before = made.read_bytes()
    source.write_text("int x = ;\n")
    with pytest.raises(ConfigError, match=r"program\.c does not compile:\nprogram\.c:1:9: error"):
        compile_object(source, made, force=True)
    assert made.read_bytes() == before
    with pytest.raises(ConfigError, match="does not exist"):
        compile_object(tmp_path / "none.c", made)


@pytest.fixture
def no_cache() -> Iterator[None]:
    find_compiler.cache_clear()
    yield
    find_compiler.cache_clear()


@pytest.mark.usefixtures("no_cache")
def test_no_compiler_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"neither clang 14 or newer .* nor the Python package ziglang"):
        find_compiler()


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize(
    ("version", "target", "fits"),
    [("14.0.6", "bpf", True), ("19.1.7", "bpf", True), ("13.0.1", "bpf", False), ("14.0.6", "x86", False)],
)
def test_clang_must_be_new_enough_and_know_ebpf(
    version: str, target: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clang = tmp_path / "clang"
    clang.write_text(f'#!/bin/sh\n[ "$1" = -dumpversion ] && echo {version} || echo "    {target} - a target"\n')
    clang.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert (find_compiler() == (str(clang),)) is fits
