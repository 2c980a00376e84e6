"""`Datapath`: one virtual switch in the kernel, and everything a program does with it.

The kernel keeps it: traffic goes on flowing by the installed megaflows when the process ends, also by `kill -9`, and
the next process finds it again by name. One process at a time controls it; any number may read.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from vswitch.api.flows import Flows, Transaction
from vswitch.api.loop import Loop, UnexpectedUpcallError
from vswitch.api.meters import Meters
from vswitch.api.policies import PolicyAtWork
from vswitch.api.ports import Ports
from vswitch.api.watching import watch
from vswitch.base.errors import ConfigError, ExistsError, NotFoundError
from vswitch.base.limits import MAX_PORT
from vswitch.datapath.backend import Backend
from vswitch.datapath.ebpf.backend import KernelBackend
from vswitch.datapath.ebpf.ports import take_down
from vswitch.datapath.ebpf.state import Options, State, datapath_names, rounded_size
from vswitch.fields import FIELDS
from vswitch.model.actions import Action, Output, check_actions
from vswitch.model.match import Key, Match
from vswitch.model.megaflow import check_priority
from vswitch.model.port import PortEvent, PortKind
from vswitch.model.sent import Sent
from vswitch.model.upcall import Offload
from vswitch.packet.parse import parse
from vswitch.policy.explanation import Explanation
from vswitch.policy.run import Policy
from vswitch.upcalls.batches import Upcalls
from vswitch.upcalls.miss import Answer, Miss
from vswitch.upcalls.queue import Workers
from vswitch.upcalls.stats import Tally, UpcallStats

if typing.TYPE_CHECKING:
    from vswitch.datapath.simulated.backend import SimulatedBackend

__all__ = ["Datapath", "DatapathStats", "UnexpectedUpcallError"]

T = typing.TypeVar("T")

LOCAL_PORT = 0
"""Number of the port by which the host itself is on the switch."""


@dataclass(frozen=True, slots=True)
class DatapathStats:
    """Since the datapath was made: lookups that `hit` (of these `cache_hits` by the cache) and that `missed`; packets
    that were sent up (`upcalls`) or `lost` on the way, be it that they missed, that they hit a megaflow which lets none
    pass before those that came up first, or that an action sent them; `masks_tried`: index probes of lookups that the
    cache did not have. `flows` and `masks` now."""

    hit: int
    missed: int
    lost: int
    upcalls: int
    cache_hits: int
    masks_tried: int
    flows: int
    masks: int


class Datapath:
    """A virtual switch in the kernel.

    `Datapath.create(name)` makes one, `Datapath.open(name)` finds one again. As a context manager, one that was created
    is deleted at the end of the block unless `keep()` was called; one that was opened is closed. One thread at a time
    uses it, in the network namespace in which it was made; any may call `stop`.
    """

    def __init__(self, backend: Backend, *, created: bool) -> None:
        self._backend = backend
        self._created = created
        self._kept = False
        self._closed = False
        self._tally = Tally(backend)
        self.flows = Flows(backend.flows, backend.now_ns)
        self._loop = Loop(backend, self.flows, self._tally)
        self.flows.on_removal = self._loop.forget_removed
        self.flows.on_withdrawal = self._withdraw_within
        self.ports = Ports(backend.ports)
        self.meters = Meters(backend, backend.meters)

    # ---- making, finding, removing

    @classmethod
    def create(
        cls,
        name: str,
        *,
        ports: Iterable[str] = (),
        local: bool = True,
        exist_ok: bool = False,
        options: Options | None = None,
        **sizes: int,
    ) -> Datapath:
        """Make a datapath with the devices `ports` as its ports 1, 2, ...

        `local`: with an internal port 0, a device called `name`, by which the host is on the switch. `sizes`: members
        of `Options`, such as `max_flows=1_000_000`. `exist_ok`: take over one that is there already, with its flows;
        what it lacks of `ports` and `local` is added, and sizes that are given must be its own. Either way it is
        deleted at the end of a `with` block, unless `keep` was called.

        All of it happens, or nothing does. ExistsError, NotFoundError (a device), BusyError, PrivilegeError,
        KernelError, LoadError; ConfigError for names and sizes that cannot be.
        """
        if options is not None and sizes:
            raise ConfigError("give either options or single sizes, not both")
        if isinstance(ports, str):
            raise ConfigError(f"ports {ports!r} is one text, not several names of devices")
        wanted = sizes if options is None else dataclasses.asdict(options)
        options = options or Options(**sizes)
        try:
            state = State.begin(name)
        except ExistsError:
            if not exist_ok:
                raise
            return cls._take_over(name, ports, local, wanted)
        return cls._make(state, ports, local, options)

    @classmethod
    def _make(cls, state: State, ports: Iterable[str], local: bool, options: Options) -> Datapath:
        backend = None
        try:
            backend = KernelBackend.make(state, options)
            datapath = cls(backend, created=True)
            if local:
                backend.ports.add(state.name, LOCAL_PORT, PortKind.INTERNAL, False)
            for device in ports:
                datapath.ports.add(device)
            backend.finish()
        except BaseException:
            KernelBackend.undo(state, backend)
            raise
        return datapath

    @classmethod
    def _take_over(cls, name: str, ports: Iterable[str], local: bool, wanted: dict[str, int]) -> Datapath:
        datapath = cls.open(name)
        datapath._created = True
        before = datapath.ports.names()
        try:
            for size, value in wanted.items():
                if (has := getattr(datapath._backend.options, size)) != rounded_size(size, value):
                    raise ConfigError(f"datapath {name} exists with {size} {has}, not {value}")
            if local and LOCAL_PORT not in datapath.ports:
                datapath._backend.ports.add(name, LOCAL_PORT, PortKind.INTERNAL, False)
            for device in ports:
                if device not in datapath.ports:
                    datapath.ports.add(device)
        except BaseException:
            for number in datapath.ports.names().keys() - before.keys():
                datapath.ports.remove(number)
            datapath.close()
            raise
        return datapath

    @classmethod
    def open(cls, name: str, *, control: bool = True) -> Datapath:
        """Find a datapath again, with ports, flows and counters. `control=False`: only to read, beside the process that
        controls it; whatever would change it raises BusyError.

        NotFoundError, BusyError (another process controls it), PrivilegeError; ConfigError if its devices are in
        another network namespace (there it can be read, its ports without their devices), MachineError if another
        version of vswitch made it."""
        return cls(KernelBackend.open(name, control=control), created=False)

    @staticmethod
    def list() -> list[str]:
        """Names of the datapaths on this machine, in whatever network namespace."""
        return datapath_names()

    @staticmethod
    def delete(name: str) -> None:
        """Remove a datapath and all that was made for it, whichever version of vswitch made it. NotFoundError,
        BusyError, PrivilegeError; ConfigError if its devices are in another network namespace."""
        try:
            state = State.claim(name)
        except NotFoundError:
            if take_down(name):  # its pins are gone, with the file system that they were in
                return
            raise
        try:
            take_down(name)
            state.remove()
        except BaseException:
            state.close()
            raise

    @classmethod
    def simulate(cls, ports: Iterable[str] | int = 4, *, name: str = "simulated", **sizes: int) -> Datapath:
        """One that needs neither root nor kernel: packets are those that a program gives to `receive`, and time goes on
        when the program says so, by `advance`. Decisions are the kernel's, packet for packet. `ports`: names of the
        ports 1, 2, ..., or how many. Devices, other processes, GSO packets and tunnels there are none."""
        from vswitch.datapath.simulated.backend import SimulatedBackend  # who has a kernel need not load it

        if isinstance(ports, str | bool) or (isinstance(ports, int) and not 0 <= ports <= MAX_PORT):
            raise ConfigError(f"ports {ports!r} are neither names nor a number of 0..{MAX_PORT}")
        listed = [f"port{number}" for number in range(1, ports + 1)] if isinstance(ports, int) else list(ports)
        datapath = cls(SimulatedBackend(name, Options(**sizes)), created=True)
        for each in listed:
            datapath.ports.add(each)
        datapath._backend.ports.forget_events()
        return datapath

    def _delete(self) -> None:
        self._backend.need_removable()
        self._close_upcalls()
        self._tally.close()
        self._closed = True
        self._backend.delete()

    def keep(self, kept: bool = True) -> None:
        """Leave the datapath in the kernel when the `with` block that created it ends; False: delete it after all."""
        self._kept = kept

    def close(self) -> None:
        """End control; traffic goes on by the installed megaflows. In a process forked from that which has control
        nothing ends."""
        if not self._closed and not self._backend.is_forked:
            self._close_upcalls()
            self._tally.close()
            self._closed = True
            self._backend.close()

    def _close_upcalls(self) -> None:
        self._loop.close()

    def __enter__(self) -> Datapath:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closed or self._backend.is_forked:
            return
        if self._created and not self._kept:
            self._delete()
        else:
            self.close()

    @property
    def name(self) -> str:
        """What it is called."""
        return self._backend.name

    @property
    def backend(self) -> Backend:
        """What carries it out, for who builds a switch on it."""
        return self._backend

    @property
    def _kernel(self) -> KernelBackend:
        """The kernel's half. ConfigError for a simulated datapath, which has none."""
        if not isinstance(self._backend, KernelBackend):
            raise ConfigError(f"datapath {self.name} is simulated: it has no kernel's half")
        return self._backend

    def __repr__(self) -> str:
        if self._closed:
            return f"Datapath({self.name!r}, closed)"
        return f"Datapath({self.name!r}, ports={len(self.ports)}, flows={len(self.flows)})"

    # ---- reading

    def stats(self) -> DatapathStats:
        """Counters of the whole datapath, over all CPUs."""
        self._backend.need_open()
        counted = self._backend.counters()
        masks = self.flows.masks
        return DatapathStats(
            hit=counted.cache_hits + counted.mask_hits,
            missed=counted.missed,
            lost=counted.lost,
            upcalls=counted.upcalls,
            cache_hits=counted.cache_hits,
            masks_tried=counted.masks_tried,
            flows=sum(count for _, _, count in masks),
            masks=len(masks),
        )

    def explicit_drops(self) -> dict[int, int]:
        """Packets dropped by drop actions, and by megaflows without actions (reason 0), since the datapath was made:
        the action's reason -> how many."""
        self._backend.need_open()
        return self._backend.explicit_drops()

    @property
    def upcall_stats(self) -> UpcallStats:
        """What became of packets that came up, since the datapath was made."""
        return self._tally.read()

    @property
    def last_failure(self) -> BaseException | None:
        """Why the last packet failed that did: what a handler or a policy raised, or why its rule was refused. None if
        none has failed since upcalls are taken."""
        return None if self._loop.upcalls is None else self._loop.upcalls.last_failure

    # ---- changing

    def transaction(self) -> Transaction:
        """Changes to the megaflows that packets see all at once."""
        self._backend.need_control("a transaction")
        return Transaction(self.flows)

    def execute(
        self,
        packet: bytes | bytearray | memoryview,
        actions: Action | Iterable[Action] | None = None,
        *,
        in_port: int = 0,
        offload: Offload | None = None,
    ) -> None:
        """Send a frame into the datapath as if it had come in by `in_port`: execute `actions` on it, or look it up if
        there are none (one that misses then is dropped and counted, and does not come up). A packet that is executed
        in a handler comes up again if its actions, or the rules that it meets, say so: to bound that is the program's
        job."""
        self._backend.need_control("execute")
        if not isinstance(in_port, int) or not 0 <= in_port <= MAX_PORT:
            raise ConfigError(f"in_port {in_port!r} is outside 0..{MAX_PORT}")
        frame = _frame(packet)
        if not isinstance(offload, Offload | None):
            raise ConfigError(f"offload {offload!r} is no Offload")
        header = (offload or Offload()).header
        if len(header) != len(Offload().header):
            raise ConfigError(f"an offload of {len(header)} bytes, not {len(Offload().header)}")
        look = (in_port, 0, 0, 0, 0, 0, bytes(48))
        injector = self._backend.injection()
        if actions is None:
            injector.send(injector.entry(look), frame, header)
            return
        listed = check_actions((actions,) if isinstance(actions, Action) else actions)
        if not listed:
            return
        arena = self._backend.flows.arena
        word = arena.acquire_list(listed)
        try:
            injector.send(injector.entry(look, word), frame, header)
        finally:
            injector.forget(look, word)
            arena.release(word)

    def _withdraw_within(self, match: Match) -> None:
        if self._loop.upcalls is not None:
            self._loop.upcalls.withdraw_within(match)

    # ---- of a simulated datapath alone

    @property
    def _simulation(self) -> SimulatedBackend:
        if not self._backend.simulated:
            raise ConfigError(f"datapath {self.name} is in the kernel: packets come by its ports, and time goes by")
        return typing.cast("SimulatedBackend", self._backend)

    def receive(self, packet: bytes | bytearray | memoryview, in_port: int | str = 1) -> Sequence[Sent]:
        """Let a frame come in by a port of a simulated datapath. What goes out at once; what comes up, if there is a
        handler or a policy, or `start_upcalls` was called, waits for `run` and its like. ConfigError: the
        datapath is the kernel's, or the frame is not of 14..65549 bytes."""
        frame = _frame(packet)
        if self._loop.policy is not None or self._loop.answers:
            self.start_upcalls()
        with self._loop.deferring():
            return self._simulation.receive(frame, self.ports[in_port].number)

    def sent(self) -> Sequence[Sent]:
        """What has gone out of a simulated datapath since the last call, in order."""
        return self._simulation.taken()

    def advance(self, seconds: float) -> None:
        """Let time go by for a simulated datapath; megaflows time out meanwhile."""
        if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
            raise ConfigError(f"time goes on by 0 seconds or more, not by {seconds!r}")
        self._simulation.advance(round(seconds * 1e9))
        self.flows.expire()

    # ---- upcalls

    def start_upcalls(self) -> Upcalls:
        """Let packets that miss come up from now on; `misses`, `run` and their like do so by themselves."""
        return self._loop.start()

    def policy(self, function: Policy, *, priority: int = 0, limit_s: float = 0.4) -> Policy:
        """Let `function`, a policy, decide about packets that miss (decorator); `run` and `serve` call it. What it read
        decides the megaflow, which has this priority. Upcalls of userspace actions go to the handler that `on_miss` was
        given. One that takes longer than `limit_s` for a packet gets a PolicyTimeoutError, as soon as it does something
        in Python: its packet is dropped and counted as failed. ConfigError: there is one already; no such priority."""
        if not callable(function):
            raise ConfigError(f"policy {function!r} is no function")
        if inspect.iscoroutinefunction(function):
            raise ConfigError(f"policy {function!r} is a coroutine: a policy decides at once; slow work is a handler's")
        check_priority(priority)
        if not isinstance(limit_s, int | float) or not 0 < limit_s <= 3600:
            raise ConfigError(f"limit_s {limit_s!r} of a policy is outside 0..3600, 0 excluded")
        if self._loop.policy is not None:
            raise ConfigError(f"datapath {self.name} has a policy already, {self._loop.policy.policy.policy!r}")
        self._backend.need_control("a policy")
        self._loop.policy = PolicyAtWork(function, self.flows, priority, self.time, self._reply, limit_s)
        return function

    def limit_new_flows(self, per_s: float, *, burst: int | None = None, by: Iterable[str] = ("in_port",)) -> None:
        """Let at most so many new flows a second come to the program, for each value of the fields `by`: as it is, of
        each port; by `("in_port", "ip_src")` of each source address, of those packets that have one. `burst`: so many
        at once (default: those of a second). What misses beyond that is dropped: by the port alone in the kernel, which
        costs Python nothing (`upcall_rate` of the port's drops), else here (`rate` in `upcall_stats`). There may be
        limits by several groups of fields; a packet has to keep all of them. ConfigError: no such field, rate or burst,
        or more than 16."""
        self._loop.limit(per_s, burst, by)

    def unlimit_new_flows(self, *, by: Iterable[str] = ("in_port",)) -> None:
        """Take such a limit away. ConfigError: there is none."""
        self._loop.unlimit(by)

    def _reply(self, frame: bytes, port: int) -> None:
        if port not in self.ports:
            raise NotFoundError(f"the policy replied to port {port}, which does not exist")
        self.execute(frame, Output(port), in_port=port)

    def explain(self, packet: typing.SupportsBytes | Key, *, in_port: int | str = 1) -> Explanation:
        """What the policy would do with a frame that came in by `in_port`, a number or a name, or with a packet that
        looks like this key; of a frame also what it would do with what a `rewrite` makes of it. The datapath is not
        touched, and rules beside the policy's, which may take the packet first, are not looked at. ConfigError:
        there is no policy, or its answer is nonsense; PolicyTimeoutError: it takes too long; whatever it raises goes
        through."""
        if self._loop.policy is None:
            raise ConfigError(f"datapath {self.name} has no policy to explain")
        frame = None
        if not isinstance(packet, Key):
            frame = _frame(bytes(packet))
            number = self.ports[in_port].number if isinstance(in_port, str) else in_port
            if not isinstance(number, int) or not 0 <= number <= MAX_PORT:
                raise ConfigError(f"in_port {number!r} is outside 0..{MAX_PORT}")
            packet = Key(parse(frame, FIELDS["in_port"].place(number)))
        return self._loop.policy.explain(packet, frame)

    def on_miss(self, handler: Callable[[Miss], Answer]) -> Callable[[Miss], Answer]:
        """Let `handler` answer what comes up (decorator); `run` calls it. It returns a rule or (match, actions) to be
        installed, or None if it answered by the miss's own methods."""
        self._loop.handler = handler
        return handler

    def on_port_event(self, callback: Callable[[PortEvent], None]) -> Callable[[PortEvent], None]:
        """Call `callback` when something happens to a port (decorator)."""
        self._loop.port_callbacks.append(callback)
        return callback

    def run(
        self, *, timeout_s: float | None = None, strict: bool = False, workers: Workers | int | None = None
    ) -> None:
        """Answer upcalls with the handler that `on_miss` was given, follow ports and expire megaflows, until `stop`
        is called, `timeout_s` is over, or the datapath is closed. `strict`: UnexpectedUpcallError for the first miss,
        for rule sets that are meant to be complete. ConfigError inside a handler: a batch ends before the next begins;
        so also for `misses` and their like.

        `workers`: let the handler run in so many threads beside this one (see `Workers`); at the end it waits for those
        that are at a packet. A policy decides in this thread all the same, and its userspace actions go to workers. A
        handler in a thread uses the datapath by `call`. Over a simulated datapath it runs at once, in this thread, and
        `run` ends as soon as nothing waits; with `timeout_s`, so much simulated time goes by."""
        self._loop.run(timeout_s, strict, workers)

    def call(self, function: Callable[[], T]) -> T:
        """Let the thread whose loop takes upcalls call `function`, and return what it returns, or raise what it raises.
        For handlers in other threads, which must not use the datapath themselves. ConfigError: no loop is at work, or
        it ends before it gets to it."""
        return self._loop.call(function)

    def stop(self) -> None:
        """Let `run`, `misses` and their like end after the batch that they are at. Called while none of them is at
        work, it ends the next one before that has handled anything."""
        self._loop.stop()

    def misses(self, timeout_s: float | None = None) -> Iterator[Miss]:
        """What comes up, one after another, until `stop` is called, `timeout_s` is over, or the datapath is closed.
        Answers are carried out a batch at a time: when no more packets wait, or after 256."""
        return self._loop.misses(timeout_s)

    def watch(
        self, timeout_s: float | None = None, on_overrun: Callable[[int], None] = lambda _lost: None
    ) -> Iterator[Miss]:
        """What comes up from now on to the process that controls the datapath, to look at, until it is closed here or
        `timeout_s` is over. It needs no control, and takes nothing from that process. What comes too fast to be copied
        is not shown: `on_overrun` is told how many bytes. NotFoundError: the datapath was removed."""
        self._backend.need_open()
        return watch(self._kernel.state, timeout_s, lambda: self._closed, on_overrun)

    def time(self) -> float:
        """Seconds of the clock that this datapath, and `now()` in its policy, goes by: time.monotonic(), or the
        simulated time, which begins with 1."""
        return self._backend.now_ns() / 1e9

    # ---- upcalls, on asyncio

    def async_misses(self) -> AsyncIterator[Miss]:
        """As `misses`, on the running event loop."""
        return self._loop.async_misses()

    async def serve(
        self,
        handler: Callable[[Miss], Answer | Awaitable[Answer]] | None = None,
        *,
        strict: bool = False,
        workers: Workers | int | None = None,
    ) -> None:
        """As `run`, on the running event loop; `handler` (default: that of `on_miss`) may be a coroutine function.
        Packets that come while one is being looked at wait in the ring, in order. What a handler raises costs its
        packet, also CancelledError, if it is not this task that is cancelled. `workers`: let so many tasks look at
        packets beside each other, as with `run`; `handler` then answers what a policy does not."""
        await self._loop.serve(handler, strict, workers)


def _frame(packet: bytes | bytearray | memoryview) -> bytes:
    """The bytes of a frame that a program gives. ConfigError: it cannot be one."""
    if not isinstance(packet, bytes | bytearray | memoryview):
        raise ConfigError(f"packet {packet!r} is no bytes")
    if not 14 <= len(packet) <= 65549:
        raise ConfigError(f"a packet of {len(packet)} bytes is outside 14..65549")
    return bytes(packet)
