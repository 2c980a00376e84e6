"""`vswitch start|stop|restart|status|force-reload-kmod`: the life of the daemon, as `ovs-ctl` has it.

Which process it is says the lock on its pid file, never the number written there: a file that a killed process left
means nothing. Invariant: bridges forward while the daemon is stopped, and none of their ports or flows is taken away.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import uuid
from argparse import Namespace
from pathlib import Path

from vswitch.base.errors import MachineError, NotFoundError, PrivilegeError
from vswitch.base.places import Places
from vswitch.cli.ovsdb.client import Client
from vswitch.ovsdb.types import Json

__all__ = ["reload", "restart", "running_pid", "start", "status", "stop"]

END_S = 30
"""How long a daemon may take to end."""

START_S = 120
"""How long it may take until the machine is what the database says."""

_FLOCK = "hhqqi4x"
_ROOT = "Open_vSwitch"


def running_pid(pid_file: Path) -> int | None:
    """Of the process that holds the lock; None if there is none."""
    try:
        descriptor = os.open(pid_file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except PermissionError as problem:
        raise PrivilegeError(f"cannot look at {pid_file}: root is needed for that") from problem
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else int(pid)


def status(_arguments: Namespace) -> None:
    """Say whether it runs. NotFoundError: it does not."""
    pid = running_pid(Path(Places.of(os.environ).pid_file))
    if pid is None:
        raise NotFoundError("vswitchd is not running")
    print(f"vswitchd is running with pid {pid}")


def start(arguments: Namespace) -> None:
    """Start it, unless it runs; return when it is ready."""
    places = Places.of(os.environ)
    pid = running_pid(Path(places.pid_file))
    if pid is not None:
        print(f"vswitchd is already running with pid {pid}")
        return
    command = [sys.executable, "-m", "vswitch", "vswitchd", "--detach", f"--log-file={places.log}"]
    command += [*(f"--verbose={each}" for each in arguments.verbose), arguments.db_file or places.database]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=START_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MachineError(f"vswitchd is not ready after {START_S} s; {places.log} may say why") from None
    if done.returncode:
        raise MachineError(f"vswitchd did not start (status {done.returncode}); {places.log} may say why")
    if arguments.system_id:
        _name_system(places, arguments.system_id)
    print(f"vswitchd is running with pid {running_pid(Path(places.pid_file))}")


def _name_system(places: Places, name: str) -> None:
    """`random`: one that nobody has, unless the database has one already."""
    with Client(
        f"unix:{places.socket}", Namespace(private_key=None, certificate=None, ca_cert=None, timeout=END_S)
    ) as (client):
        mutations: list[Json] = [["external_ids", "insert", ["map", [["system-id", name]]]]]
        if name == "random":
            mutations = [["external_ids", "insert", ["map", [["system-id", str(uuid.uuid4())]]]]]
        else:
            mutations.insert(0, ["external_ids", "delete", ["set", ["system-id"]]])
        client.call("transact", _ROOT, {"op": "mutate", "table": _ROOT, "where": [], "mutations": mutations})


def stop(_arguments: Namespace) -> None:
    """End it, if it runs; return when it has ended. MachineError: it does not."""
    pid_file = Path(Places.of(os.environ).pid_file)
    pid = running_pid(pid_file)
    if pid is None:
        print("vswitchd is not running")
        return
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if running_pid(pid_file) != pid:  # it has ended meanwhile, and the number may be another's
            return
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], END_S)
    except PermissionError as problem:
        raise PrivilegeError(f"cannot end process {pid}: root is needed for that") from problem
    except ProcessLookupError:
        return
    finally:
        os.close(process)
    if not ended:
        raise MachineError(f"vswitchd, process {pid}, has not ended within {END_S} s")


def restart(arguments: Namespace) -> None:
    """Another process for the same bridges."""
    stop(arguments)
    start(arguments)


def reload(arguments: Namespace) -> None:
    """There is no kernel module: the daemon is started anew."""
    print("vswitch has no kernel module: the daemon is restarted")
    restart(arguments)
