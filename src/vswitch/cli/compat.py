"""`vswitch install-compat`: vswitch's tools under the names of Open vSwitch's, which look where those look.

Each is a script that bears MARK. Invariant: a file without it is never written over nor removed, and if one is in the
way nothing is changed.
"""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from pathlib import Path

import vswitch
from vswitch.base.errors import ConfigError, PrivilegeError

__all__ = ["install"]

MARK = "# made by vswitch install-compat"
_PLACES = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/share/openvswitch/scripts")

_TOOLS = {
    "ovs-appctl": "vswitch appctl", "ovs-dpctl": "vswitch dpctl", "ovs-ofctl": "vswitch ofctl",
    "ovsdb-client": "vswitch ovsdb", "ovsdb-tool": "vswitch ovsdb", "ovs-ctl": "vswitch.cli.borrowed ovs-ctl",
    "ovs-vswitchd": "vswitch.cli.borrowed ovs-vswitchd", "ovsdb-server": "vswitch.cli.borrowed ovsdb-server",
    "ovs-vsctl": "",
}  # fmt: skip
"""Names, and which module of Python each is, with its first word."""

_SCRIPT = """\
#!/bin/sh
{mark}
: "${{OVS_RUNDIR:=/var/run/openvswitch}}" "${{OVS_DBDIR:=/etc/openvswitch}}" "${{OVS_LOGDIR:=/var/log/openvswitch}}"
: "${{VSWITCH_RUNDIR:=$OVS_RUNDIR}}" "${{VSWITCH_DAEMON:=ovs-vswitchd}}"
export OVS_RUNDIR OVS_DBDIR OVS_LOGDIR VSWITCH_RUNDIR VSWITCH_DAEMON
exec {command} "$@"
"""

_VSCTL = """\
#!{python} -S
{mark}
import sys

sys.path[0] = {folder!r}
from vswitch.cli.vsctl.main import start

start("ovs-vsctl", sys.argv[1:])
"""
"""The same for a program that is over before `site` has looked through what is installed."""


def install(arguments: Namespace) -> None:
    """Write the scripts, or with --uninstall remove them. ConfigError: Open vSwitch's own tools are there."""
    folder = Path(arguments.prefix) / "bin"
    try:
        if arguments.uninstall:
            _remove(folder)
        else:
            _write(folder)
    except PermissionError as problem:
        raise PrivilegeError(f"cannot write in {folder}: {problem.strerror}") from None


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK.encode() in file.read(256).splitlines()


def _write(folder: Path) -> None:
    for place in dict.fromkeys([folder, *map(Path, _PLACES)]):
        for name in _TOOLS:
            path = place / name
            if path.is_symlink() or (path.exists() and not _is_ours(path)):
                raise ConfigError(f"{path} is not vswitch's: Open vSwitch's own tools are installed")
    folder.mkdir(parents=True, exist_ok=True)
    for name, command in _TOOLS.items():
        path = folder / name
        if command:
            words = [sys.executable, "-m", *command.split()]
            path.write_text(_SCRIPT.format(mark=MARK, command=shlex.join(words)))
        else:
            path.write_text(
                _VSCTL.format(python=sys.executable, mark=MARK, folder=str(Path(vswitch.__file__).parents[1]))
            )
        path.chmod(0o755)
        print(path)


def _remove(folder: Path) -> None:
    for name in _TOOLS:
        path = folder / name
        if path.is_file() and not path.is_symlink() and _is_ours(path):
            path.unlink()
            print(path)
