"""`vswitch vswitchd`: the switches that a database describes, in the foreground or, with --detach, behind it.

Invariant: Ctrl-C and SIGTERM end it in good order: what the database was told is on the disk, and bridges forward on.
"""

from __future__ import annotations

import asyncio
import os
import signal
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from vswitch.base.errors import PrivilegeError
from vswitch.base.places import Places
from vswitch.bridge.collection import seldom
from vswitch.bridge.pidfile import pid_file
from vswitch.cli.arguments import UsageError
from vswitch.control.commands import Commands
from vswitch.daemon.commands import DatabaseCommands
from vswitch.daemon.detach import Detached
from vswitch.daemon.logs import Logs
from vswitch.daemon.ovsdb import DatabaseServer
from vswitch.ovsdb.log import create
from vswitch.ovsdb.schema import version_of
from vswitch.ovsdb.vswitch_schema import VSWITCH_SCHEMA
from vswitch.transport.targets import Tls
from vswitch.vswitchd.daemon import Vswitchd
from vswitch.vswitchd.external import ExternalSource
from vswitch.vswitchd.source import EmbeddedSource, Source

__all__ = ["run"]


def run(arguments: Namespace) -> None:
    """Be the switches until a signal comes."""
    places = Places.of(os.environ)
    folder = Path(arguments.rundir or places.run).absolute()
    path = Path(arguments.database or places.database).absolute()
    detached = Detached()
    if arguments.detach:
        detached.begin()
    logs = Logs()
    logs.install(file=arguments.log_file, syslog=arguments.syslog_target, specifications=arguments.verbose)
    with pid_file(folder, places.daemon) as control, seldom():
        asyncio.run(_serve(arguments, folder, path, _Life(f"punix:{control}", logs, detached)))


@dataclass(frozen=True, slots=True)
class _Life:
    """`control`: where it is asked."""

    control: str
    logs: Logs
    detached: Detached


def _ensure_database(path: Path) -> None:
    if path.exists():
        return
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        create(path, VSWITCH_SCHEMA)
    except PermissionError as problem:
        raise PrivilegeError(f"cannot make the database {path}: {problem.strerror}") from problem


async def _serve(arguments: Namespace, folder: Path, path: Path, life: _Life) -> None:
    files = (arguments.private_key, arguments.certificate, arguments.ca_cert)
    if any(files) and not all(files):
        raise UsageError("--private-key, --certificate and --ca-cert are given all or none")
    tls = Tls(*files) if all(files) else None
    if arguments.db:
        external = ExternalSource(arguments.db, tls)
        try:
            await _follow(external, folder, life)
        finally:
            await external.stop()
        return
    server = DatabaseServer(tls)
    _ensure_database(path)
    try:
        database = server.open(path)
        if version_of(database.schema.version) < version_of(VSWITCH_SCHEMA.version):  # a newer one stays as it is
            server.server.convert(database, VSWITCH_SCHEMA.to_json())
        server.start()
        for remote in (f"punix:{folder}/db.sock", "db:Open_vSwitch,Open_vSwitch,manager_options", *arguments.remotes):
            await server.remotes.add(remote)
        await _follow(EmbeddedSource(server), folder, life, DatabaseCommands(server))
    finally:
        await server.stop()


async def _follow(source: Source, folder: Path, life: _Life, databases: DatabaseCommands | None = None) -> None:
    """Do what the database says until a signal comes."""
    loop = asyncio.get_running_loop()

    def more(commands: Commands) -> None:
        life.logs.add_to(commands)
        if databases is not None:
            databases.add_to(commands)

    daemon = Vswitchd(source, folder, life.control, more)
    ended = asyncio.Event()

    def end() -> None:
        ended.set()
        daemon.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    if isinstance(source, ExternalSource):
        source.on_lock = daemon.look
        beginning = loop.create_task(source.start())
        waiting = loop.create_task(ended.wait())
        await asyncio.wait({beginning, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (beginning, waiting):
            task.cancel()

    def ready() -> None:
        print("vswitchd is running; Ctrl-C ends it", flush=True)
        life.detached.ready()

    await daemon.run(ready)
