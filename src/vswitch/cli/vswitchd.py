"""`vswitch vswitchd`: the switches that a database describes, in the foreground.

Invariant: Ctrl-C and SIGTERM end it in good order: what the database was told is on the disk, and bridges forward on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from argparse import Namespace
from pathlib import Path

from vswitch.base.errors import PrivilegeError
from vswitch.bridge.collection import seldom
from vswitch.bridge.pidfile import pid_file
from vswitch.daemon.ovsdb import DatabaseServer
from vswitch.ovsdb.log import create
from vswitch.ovsdb.schema import version_of
from vswitch.ovsdb.vswitch_schema import VSWITCH_SCHEMA
from vswitch.vswitchd.daemon import Vswitchd
from vswitch.vswitchd.source import EmbeddedSource

__all__ = ["run"]


def run(arguments: Namespace) -> None:
    """Be the switches until a signal comes."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    folder = Path(arguments.rundir or os.environ.get("OVS_RUNDIR") or "/run/vswitch")
    path = Path(arguments.database or Path(os.environ.get("OVS_DBDIR") or "/var/lib/vswitch") / "conf.db")
    with pid_file(folder, "vswitchd"), seldom():
        asyncio.run(_serve(arguments, folder, path))


def _ensure_database(path: Path) -> None:
    if path.exists():
        return
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        create(path, VSWITCH_SCHEMA)
    except PermissionError as problem:
        raise PrivilegeError(f"cannot make the database {path}: {problem.strerror}") from problem


async def _serve(arguments: Namespace, folder: Path, path: Path) -> None:
    loop = asyncio.get_running_loop()
    server = DatabaseServer()
    _ensure_database(path)
    try:
        database = server.open(path)
        if version_of(database.schema.version) < version_of(VSWITCH_SCHEMA.version):  # a newer one stays as it is
            server.server.convert(database, VSWITCH_SCHEMA.to_json())
        server.start()
        for remote in (f"punix:{folder}/db.sock", "db:Open_vSwitch,Open_vSwitch,manager_options", *arguments.remotes):
            await server.remotes.add(remote)
        daemon = Vswitchd(EmbeddedSource(server), folder)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, daemon.stop)

        def ready() -> None:
            print("vswitchd is running; Ctrl-C ends it", flush=True)

        await daemon.run(ready)
    finally:
        await server.stop()
