"""The daemon: follows the database, and tells it what has become of it.

One task does all of it, in rounds: what is asked for is read anew (`plan`), made (`reconcile`), and told in one
transaction (`status`). Rounds begin when something is asked for, when a device changes, when what failed is to be tried
again, and now and then; a second of them that has only something to tell waits for `PAUSE_S`.

Invariant: `cur_cfg` is written in the transaction that tells what has become of that configuration, never before.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import uuid
from collections.abc import Callable
from pathlib import Path

from vswitch.base.errors import VswitchError
from vswitch.bridge.control import ControlServer
from vswitch.bridge.controllers import ControllerState
from vswitch.control.commands import Commands
from vswitch.ovsdb.database import Change
from vswitch.ovsdb.types import Json
from vswitch.vswitchd.commands import DaemonCommands
from vswitch.vswitchd.plan import Wanted, WantedBridge, plan
from vswitch.vswitchd.reconcile import Reconciler
from vswitch.vswitchd.rows import asks_for_something, rows_of
from vswitch.vswitchd.source import Source
from vswitch.vswitchd.status import (
    Said,
    bridge_row,
    controller_row,
    datapath_operations,
    differences,
    interface_row,
    mirror_row,
    root_row,
)

__all__ = ["Vswitchd"]

logger = logging.getLogger("vswitch")

LOOK_S = 0.5
"""How often it is looked at what has become of controllers."""

PAUSE_S = 0.1
"""Between rounds that only tell something."""


class Vswitchd:
    """`folder`: where sockets are, and what is kept between processes until the machine starts anew. `control`: where
    the daemon is asked (`punix:FILE`), if anywhere; `more` adds to what it can be asked."""

    def __init__(
        self, source: Source, folder: Path, control: str = "", more: Callable[[Commands], None] | None = None
    ) -> None:
        self._source = source
        self._folder = folder
        self.reconciler = Reconciler(folder)
        self.wanted = Wanted()
        self._wake = asyncio.Event()
        self._asked = True  # the database asks for something else
        self._news = False  # there may be something to tell
        self._stopping = False
        self._cleanup = False
        self._statistics_s = 0.0  # when they are to be written
        self._told: dict[str, tuple[object, ...]] = {}  # of controllers
        self._system = _system()
        self._control: ControlServer | None = None
        if control:
            commands = DaemonCommands(
                lambda: {name: each.bridge for name, each in self.reconciler.bridges.items()},
                lambda cleanup: self.stop(cleanup=cleanup),
                self.reconciler.shaped,
            )
            if more is not None:
                more(commands.commands)
            self._control = ControlServer(control, commands.commands)
        self.rounds = self.refused = 0

    # ---- running

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Do so until `stop` is called. `ready` is called when the database is what the machine is for the first
        time."""
        loop = asyncio.get_running_loop()
        descriptor = self.reconciler.watch.fileno()
        self._source.database.listeners.append(self._changed)
        loop.add_reader(descriptor, self._devices_changed)
        try:
            if self._control is not None:
                await self._control.start()
            while not self._stopping:
                await self._round()
                if ready is not None and not self._asked and self.rounds:
                    ready()
                    ready = None
                await self._rest()
        finally:
            loop.remove_reader(descriptor)
            self._source.database.listeners.remove(self._changed)
            await self.reconciler.stop(remove=self._cleanup)
            if self._control is not None:
                await self._control.stop()

    def stop(self, *, cleanup: bool = False) -> None:
        """Let `run` end. Bridges forward on; `cleanup`: they are removed."""
        self._stopping = True
        self._cleanup = cleanup
        self._wake.set()

    def look(self) -> None:
        """The database may be ours to follow now."""
        self._asked = True
        self._wake.set()

    def _changed(self, change: Change) -> None:
        if asks_for_something(self._source.database, change):
            self._asked = True
            self._wake.set()

    def _devices_changed(self) -> None:
        """Ports are seen to by their bridges."""
        if self.reconciler.follow_devices():
            self._asked = True
        self._news = True
        self._wake.set()

    async def _rest(self) -> None:
        """Until there is something to do."""
        loop = asyncio.get_running_loop()
        if self._news and not self._asked and not self._stopping:
            await asyncio.sleep(PAUSE_S)
        again_s = self.reconciler.again_s
        wait_s = LOOK_S if again_s is None else min(max(again_s - loop.time(), 0.0), LOOK_S)
        has_something = (self._asked or self._news) and self._source.has_lock
        if not (has_something or self._stopping):
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()

    async def _round(self) -> None:
        if not self._source.has_lock:
            return
        self.rounds += 1
        now_s = asyncio.get_running_loop().time()
        again_s = self.reconciler.again_s
        if self._asked or (again_s is not None and now_s >= again_s):
            await self._ensure_root()
            self._asked = False
            said = self.wanted.notes
            self.wanted = plan(self._source.database, str(self._folder))
            for note in self.wanted.notes:
                if note not in said:
                    logger.warning("%s", note)
            if await self.reconciler.apply(self.wanted):
                self._asked = True
            if self._asked:  # something else meanwhile
                return
        elif self._news or now_s >= self._statistics_s:
            self.reconciler.look(self.wanted)
        self._news = False
        await self._tell(now_s)

    # ---- telling

    async def _ensure_root(self) -> None:
        """There is a row Open_vSwitch, with an identity of the machine."""
        for row in rows_of(self._source.database, "Open_vSwitch"):
            if "system-id" not in row.texts("external_ids"):
                put: Json = ["external_ids", "insert", ["map", [["system-id", str(uuid.uuid4())]]]]
                where: Json = [["_uuid", "==", ["uuid", row.uuid]]]
                await self._transact([{"op": "mutate", "table": "Open_vSwitch", "where": where, "mutations": [put]}])
            return
        identity: Json = ["map", [["system-id", str(uuid.uuid4())]]]
        await self._transact([{"op": "insert", "table": "Open_vSwitch", "row": {"external_ids": identity}}])

    async def _tell(self, now_s: float) -> None:
        database, wanted = self._source.database, self.wanted
        if not wanted.root:
            return
        said = Said()
        said.put("Open_vSwitch", wanted.root, root_row(database, wanted, self._system))
        counts = now_s >= self._statistics_s
        if counts:
            self._statistics_s = now_s + wanted.statistics_s
        for bridge in wanted.bridges:
            self._say_bridge(said, bridge, counts=counts)
        for identity, facts in self.reconciler.interfaces.items():
            said.put("Interface", identity, interface_row(facts, counts=counts))
        operations = differences(database, said) + datapath_operations(database, wanted.root, wanted)
        if operations:
            await self._transact(operations)

    def _say_bridge(self, said: Said, wanted: WantedBridge, *, counts: bool) -> None:
        running = self.reconciler.bridges.get(wanted.name)
        error = wanted.error or self.reconciler.why_not(wanted.name)
        said.put(
            "Bridge", wanted.uuid, bridge_row(wanted, None if running is None else running.bridge.datapath_id, error)
        )
        if counts and running is not None and wanted.mirrors:
            copied = running.bridge.mirror_stats()
            for uuid_, name in wanted.mirrors:
                if name in copied:
                    said.put("Mirror", uuid_, mirror_row(copied[name]))
        states: dict[str, ControllerState] = {}
        if running is not None:
            states = {state.target: state for state in running.bridge.controller_states()}
        for controller in wanted.controllers:
            state = states.get(controller.target)
            now: tuple[object, ...] = (controller.error,)
            if state is not None:
                now = (state.is_connected, state.role, state.state, state.last_error, controller.error)
            if counts or self._told.get(controller.uuid) != now:
                self._told[controller.uuid] = now
                said.put("Controller", controller.uuid, controller_row(state, controller.error))

    async def _transact(self, operations: list[Json]) -> None:
        try:
            await self._source.transact(operations)
        except VswitchError as problem:
            self.refused += 1
            logger.warning("the database refuses what it is told: %s", problem)


def _system() -> tuple[str, str]:
    """What the machine's system is called, and its version."""
    try:
        known = platform.freedesktop_os_release()
    except OSError:
        return platform.system(), platform.release()
    return known.get("ID", "unknown"), known.get("VERSION_ID", "unknown")
