"""Compiles eBPF C to an object: `python -m vswitch.datapath.ebpf.compile [-o OUT] [SOURCE]`.

The wheel carries the object, so only developers, the build hook and the benchmarks come here. The compiler
is `clang` if a suitable one is installed, else the one inside of the PyPI package `ziglang`, which needs
no root. The sources include no system header, so the object depends on nothing but them and the compiler.

Invariant: an object that exists is whole and newer than everything it was made from.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from vswitch.base.errors import ConfigError, MachineError, VswitchError

__all__ = ["OBJECT", "SOURCE", "compile_object", "find_compiler", "main"]

SOURCE = Path(__file__).parent / "bpf" / "vswitch.bpf.c"
OBJECT = Path(__file__).parent / "vswitch.bpf.o"

OLDEST_CLANG = 14
"""Debian 12's; older ones write no BTF for what the program uses."""

FLAGS = ("-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror", "-fdebug-compilation-dir=.")
"""-g for BTF, which the loader needs; -mcpu=v3 for 32-bit jumps; the last so that no path of the machine gets in."""

COMPILE_TIMEOUT_S = 300


def _answer(*command: str) -> str:
    """What `command` prints; empty if it fails or cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _clang_fits(clang: str) -> bool:
    version = re.match(r"\d+", _answer(clang, "-dumpversion"))
    return (
        version is not None and int(version[0]) >= OLDEST_CLANG and "bpf" in _answer(clang, "--print-targets").split()
    )


@cache
def find_compiler() -> tuple[str, ...]:
    """The beginning of a command that runs clang. MachineError if there is neither clang nor ziglang."""
    clang = shutil.which("clang")
    if clang and _clang_fits(clang):
        return (clang,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "clang")
    raise MachineError(
        f"no compiler for eBPF: neither clang {OLDEST_CLANG} or newer with the bpf target"
        " nor the Python package ziglang (pip install ziglang) is installed"
    )


def _is_fresh(output: Path, source: Path, include: Sequence[Path]) -> bool:
    """Whether `output` is newer than its source, each header that it may include, and this module (the flags)."""
    if not output.exists():
        return False
    headers = (header for folder in (source.parent, *include) for header in folder.glob("*.h"))
    newest = max(path.stat().st_mtime_ns for path in (source, Path(__file__), *headers))
    return output.stat().st_mtime_ns > newest


def compile_object(source: Path, output: Path, include: Sequence[Path] = (), *, force: bool = False) -> bool:
    """Compiles `source` to the eBPF object `output`; headers are found beside the source and in `include`.

    Returns whether the compiler had to run; it does not, unless `force`, when the object is newer than its
    sources. MachineError: no compiler. ConfigError: no such source, or one that the compiler refused, with its words.
    """
    if not source.is_file():
        raise ConfigError(f"eBPF source {source} does not exist")
    if not force and _is_fresh(output, source, include):
        return False
    compiler = find_compiler()
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    folders = [argument for folder in (Path(), *include) for argument in ("-I", str(folder and folder.absolute()))]
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as folder:
        made = Path(folder) / output.name
        command = (*compiler, *FLAGS, *folders, "-c", source.name, "-o", str(made))
        try:
            result = subprocess.run(
                command, cwd=source.parent, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise MachineError(f"compiling {source.name} took longer than {COMPILE_TIMEOUT_S} s") from None
        if result.returncode:
            raise ConfigError(f"{source.name} does not compile:\n{result.stderr.strip()}")
        made.replace(output)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vswitch.datapath.ebpf.compile", description="Compiles eBPF C to an object."
    )
    parser.add_argument("source", type=Path, nargs="?", default=SOURCE, help="C file (default: the datapath's own)")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="object (default: where the loader looks)")
    parser.add_argument("-I", "--include", type=Path, action="append", default=[], help="another folder of headers")
    parser.add_argument("-f", "--force", action="store_true", help="compile even if nothing changed")
    options = parser.parse_args(arguments)
    output = options.output or (OBJECT if options.source == SOURCE else options.source.with_suffix(".o"))
    try:
        ran = compile_object(options.source, output, options.include, force=options.force)
    except VswitchError as error:
        print(error, file=sys.stderr)
        return 1
    if ran:
        print(f"compiled {output.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
