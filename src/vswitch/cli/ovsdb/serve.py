"""`vswitch ovsdb server`: databases in the foreground or, with --detach, behind it.

Invariant: Ctrl-C and SIGTERM end it in good order: what was acknowledged is on the disk, sockets are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from vswitch.base.places import Places
from vswitch.base.version import VERSION
from vswitch.bridge.control import ControlServer
from vswitch.bridge.pidfile import pid_file
from vswitch.cli.arguments import UsageError
from vswitch.control.commands import Answer, Commands
from vswitch.daemon.commands import DatabaseCommands
from vswitch.daemon.detach import Detached
from vswitch.daemon.logs import Logs
from vswitch.daemon.ovsdb import DatabaseServer
from vswitch.transport.targets import Tls

__all__ = ["serve"]

NAME = "ovsdb-server"
"""What its pid file and its control socket are called after, where it has them."""


def serve(arguments: Namespace) -> None:
    """Serve until a signal comes."""
    files = (arguments.private_key, arguments.certificate, arguments.ca_cert)
    if any(files) and not all(files):
        raise UsageError("--private-key, --certificate and --ca-cert are given all or none")
    names = [Path(name).absolute() for name in arguments.files]
    folder = Path(arguments.rundir or Places.of(os.environ).run).absolute()
    detached = Detached()
    if arguments.detach:
        detached.begin()
    logs = Logs()
    logs.install(file=arguments.log_file, syslog=None, specifications=arguments.verbose)
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(pid_file(folder, NAME)) if arguments.detach or arguments.rundir else None
        server = DatabaseServer(Tls(*files) if all(files) else None, syncs_here=True)
        asyncio.run(_serve(server, names, arguments.remotes, _control(server, logs, control), detached.ready))


def _control(server: DatabaseServer, logs: Logs, place: Path | None) -> Callable[[asyncio.Event], ControlServer] | None:
    """What makes the socket at which it is asked; told what ends it."""
    if place is None:
        return None

    def make(ended: asyncio.Event) -> ControlServer:
        commands = Commands(f"vswitch {VERSION}")
        DatabaseCommands(server).add_to(commands)
        logs.add_to(commands)

        def end(_words: object) -> Answer:
            ended.set()
            return Answer()

        commands.add("exit", "", 0, 0, end)
        return ControlServer(f"punix:{place}", commands)

    return make


async def _serve(
    server: DatabaseServer,
    files: list[Path],
    remotes: list[str],
    make_control: Callable[[asyncio.Event], ControlServer] | None,
    ready: Callable[[], None],
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    control = None if make_control is None else make_control(ended)
    try:
        for name in files:
            server.open(name)
        server.start()
        for remote in remotes:
            await server.remotes.add(remote)
        if control is not None:
            await control.start()
        print(f"{', '.join(server.logs)}: the server of databases is running; Ctrl-C ends it", flush=True)
        ready()
        await ended.wait()
    finally:
        if control is not None:
            await control.stop()
        await server.stop()
