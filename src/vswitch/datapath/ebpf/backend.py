"""The kernel's datapath as a whole: its maps and programs, megaflows, ports, and the way down."""

from __future__ import annotations

import time

from vswitch.base.errors import ExistsError
from vswitch.datapath.backend import Counters
from vswitch.datapath.ebpf.flows import FlowTable
from vswitch.datapath.ebpf.injection import Injector, attach_program, make_device
from vswitch.datapath.ebpf.layout import COUNTERS, DATAPATH
from vswitch.datapath.ebpf.memory import RingBuffer, release_views
from vswitch.datapath.ebpf.ports import PortTable, take_down
from vswitch.datapath.ebpf.state import Options, State

__all__ = ["KernelBackend"]


class KernelBackend:
    """One datapath in the kernel, in this process."""

    simulated = False

    def __init__(self, state: State, options: Options, *, controlled: bool) -> None:
        self.state = state
        self.options = options
        self.flows = FlowTable(state, options.max_masks, controlled)
        self.ports = PortTable(state, controlled)
        self.meters = state.memory["meters"].view.cast("Q")
        self.shares = state.memory["port_rings"].view.cast("Q")
        self.alive = state.bytes[DATAPATH.ALIVE_NS : DATAPATH.ALIVE_NS + 8].cast("Q")
        self.reader = state.bytes[DATAPATH.READER : DATAPATH.READER + 8 * DATAPATH.READER_WORDS].cast("Q")
        self._injector: Injector | None = None

    # ---- making, finding, removing

    @classmethod
    def make(cls, state: State, options: Options) -> KernelBackend:
        """Fill the place that `state` has locked; `finish` makes it a datapath that others find, `undo` clears it."""
        if state.has_remains:
            take_down(state.name)
        try:
            ifindex = make_device(state.name)
        except ExistsError:  # its pins are gone, with the file system that they were in
            take_down(state.name)
            ifindex = make_device(state.name)
        state.load(options, ifindex)
        attach_program(state, ifindex)
        return cls(state, options, controlled=True)

    def finish(self) -> None:
        """It is whole."""
        self.ports.forget_events()
        self.state.finish()

    @classmethod
    def undo(cls, state: State, backend: KernelBackend | None) -> None:
        """It could not be made."""
        if backend is not None:
            backend.leave()
        take_down(state.name)
        state.remove()

    @classmethod
    def open(cls, name: str, *, control: bool) -> KernelBackend:
        """Find one again; see `Datapath.open`."""
        state = State.open(name, control=control)
        try:
            return cls(state, state.options, controlled=control)
        except BaseException:
            state.close()
            raise

    def delete(self) -> None:
        """Remove it and all that was made for it."""
        self.leave()
        take_down(self.name)
        self.state.remove()

    def leave(self) -> None:
        """Change nothing any more; `close` follows, or the datapath is removed."""
        if self._injector is not None:
            self._injector.close()
            self._injector = None
        self.ports.close()
        self.shares.release()
        self.alive.release()
        self.reader.release()
        self.meters.release()
        release_views(self.flows, self.ports)
        self.flows.arena.memory.release()

    def close(self) -> None:
        """Leave it to itself: it goes on."""
        self.leave()
        self.state.close()

    # ---- who may do what

    @property
    def name(self) -> str:
        """What it is called."""
        return self.state.name

    def need_open(self) -> None:
        """ConfigError if it is closed."""
        self.state.need_open()

    def need_control(self, what: str) -> None:
        """BusyError if this process may only read it."""
        self.state.need_control(what)

    def need_removable(self) -> None:
        """ConfigError unless this thread is in the network namespace where its devices are."""
        self.state.need_network()

    @property
    def is_forked(self) -> bool:
        """Whether this process is a copy of that which took control."""
        return self.state.is_forked

    @property
    def exists(self) -> bool:
        """Whether it is still there."""
        return self.state.exists

    # ---- what goes up and down

    def ring(self) -> RingBuffer:
        """A reader of what comes up."""
        return RingBuffer(self.state.maps["upcalls"])

    def injection(self) -> Injector:
        """The way down."""
        if self._injector is None:
            self._injector = Injector(self.state)
        return self._injector

    def counters(self) -> Counters:
        """Over all CPUs."""
        memory = self.state.memory["counters"].view
        rows = [COUNTERS.unpack_from(memory, stripe * COUNTERS.size) for stripe in range(self.state.stripes)]
        return Counters(*(sum(column) for column in zip(*rows, strict=True)))

    def explicit_drops(self) -> dict[int, int]:
        """Reason -> packets."""
        begin = DATAPATH.EXPLICIT_DROPS
        counts = self.state.bytes[begin : begin + 256 * 8].cast("Q")
        return {reason: count for reason, count in enumerate(counts) if count}

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()
