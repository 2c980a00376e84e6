"""What a server of databases can be asked at a control socket: those `ovsdb-server/...` for which it has something.

What takes time goes on behind the answer, so bridges in the same process are not kept waiting. Invariant: a remote or
a database that is none is refused; what else goes wrong shows in the log, a moment later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from vswitch.base.errors import ConfigError, VswitchError
from vswitch.control.commands import Answer, CommandError, Commands
from vswitch.daemon.ovsdb import DatabaseServer
from vswitch.transport.targets import OVSDB_PORT, parse_target

__all__ = ["DatabaseCommands"]

logger = logging.getLogger("vswitch")


class DatabaseCommands:
    """Of one server."""

    def __init__(self, server: DatabaseServer) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def add_to(self, commands: Commands) -> None:
        """All of them."""
        commands.add("ovsdb-server/list-dbs", "", 0, 0, lambda _: _listed([*self._server.server.databases]))
        commands.add("ovsdb-server/list-remotes", "", 0, 0, lambda _: _listed(self._server.remotes.listed()))
        commands.add("ovsdb-server/add-remote", "REMOTE", 1, 1, self._add_remote)
        commands.add("ovsdb-server/remove-remote", "REMOTE", 1, 1, self._remove_remote)
        commands.add("ovsdb-server/compact", "[DB]", 0, 1, self._compact)
        commands.add("ovsdb-server/sync-status", "", 0, 0, lambda _: Answer("state: active\n"))

    def _add_remote(self, words: Sequence[str]) -> Answer:
        (remote,) = words
        if remote in self._server.remotes.listed():
            return Answer()
        if not remote.startswith("db:"):
            parse_target(remote, default_port=OVSDB_PORT)
        elif remote.count(",") != 2:
            raise ConfigError(f"remote {remote!r} is not db:DATABASE,TABLE,COLUMN")
        self._begin(self._server.remotes.add(remote))
        return Answer()

    def _remove_remote(self, words: Sequence[str]) -> Answer:
        if words[0] not in self._server.remotes.listed():
            raise CommandError("no such remote")
        self._begin(self._server.remotes.remove(words[0]))
        return Answer()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        async def run() -> None:
            try:
                await work
            except (VswitchError, OSError) as problem:
                logger.warning("what was asked at the control socket: %s", problem)

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _compact(self, words: Sequence[str]) -> Answer:
        """Begun when it is answered: databases are served meanwhile."""
        for name in words:
            if name not in self._server.logs:
                raise CommandError("no database by that name")
        for name in words or list(self._server.logs):
            self._begin(self._server.compact(name))
        return Answer()


def _listed(names: Sequence[str]) -> Answer:
    names = sorted(names)
    return Answer("".join(f"{name}\n" for name in names), lambda: names)
