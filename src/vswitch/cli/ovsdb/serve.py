"""`vswitch ovsdb server`: databases in the foreground.

Invariant: Ctrl-C and SIGTERM end it in good order: what was acknowledged is on the disk, sockets are gone.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from argparse import Namespace
from pathlib import Path

from vswitch.cli.arguments import UsageError
from vswitch.daemon.ovsdb import DatabaseServer
from vswitch.transport.targets import Tls

__all__ = ["serve"]


def serve(arguments: Namespace) -> None:
    """Serve until a signal comes."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    files = (arguments.private_key, arguments.certificate, arguments.ca_cert)
    if any(files) and not all(files):
        raise UsageError("--private-key, --certificate and --ca-cert are given all or none")
    asyncio.run(_serve(arguments, Tls(*files) if all(files) else None))


async def _serve(arguments: Namespace, tls: Tls | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    server = DatabaseServer(tls, syncs_here=True)
    try:
        for name in arguments.files:
            server.open(Path(name))
        server.start()
        for remote in arguments.remotes:
            await server.remotes.add(remote)
        names = ", ".join(server.logs)
        print(f"{names}: the server of databases is running; Ctrl-C ends it", flush=True)
        await ended.wait()
    finally:
        await server.stop()
