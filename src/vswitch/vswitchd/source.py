"""Where the configuration is: a database in this process, or one that a server elsewhere has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vswitch.daemon.ovsdb import DatabaseServer
from vswitch.ovsdb.database import Database
from vswitch.ovsdb.types import Json

__all__ = ["EmbeddedSource", "Source"]


class Source(Protocol):
    """A database that is followed: who wants to hear of its changes is in `database.listeners`."""

    @property
    def database(self) -> Database:
        """Its rows, as they are known."""
        ...

    @property
    def has_lock(self) -> bool:
        """Whether it is this process that is to make the machine what the database says."""
        ...

    async def transact(self, operations: Sequence[Json]) -> list[Json]:
        """The results. OvsdbError: it was refused; MachineError: there is no connection."""
        ...


class EmbeddedSource:
    """The database `Open_vSwitch` of a server in this process."""

    def __init__(self, server: DatabaseServer) -> None:
        self._server = server

    @property
    def database(self) -> Database:
        """Its rows."""
        return self._server.server.databases["Open_vSwitch"]

    @property
    def has_lock(self) -> bool:
        """The lock on its file is enough."""
        return True

    async def transact(self, operations: Sequence[Json]) -> list[Json]:
        """The results. OvsdbError: it was refused."""
        outcome = self._server.server.transact("Open_vSwitch", operations, self._server.now_s())
        self._server.flush()
        if outcome.error is not None:
            raise outcome.error
        assert outcome.results is not None, "it waits for something"
        return outcome.results
