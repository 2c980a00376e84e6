"""From a packet to what becomes of it, and of all packets like it: OpenFlow's pipeline as megaflows of the datapath.

`translate` is a function: it changes nothing, and given the same packet and tables it gives the same answer. What
`Translation.mask` says holds for every packet that agrees with this one in those bits. The parts: `packet` (what the
packet is, and why), `run` (walking through tables and lists of actions), `do_...` (what each action does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vswitch.base.errors import ConfigError, LimitError
from vswitch.fields.openflow import PIPELINE_SLOTS
from vswitch.fields.registry import SLOTS
from vswitch.messages import actions as a
from vswitch.messages.actions import FlowAction
from vswitch.messages.ports import PortConfig
from vswitch.model.actions import check_actions
from vswitch.ofproto.do_fields import DO_FIELDS
from vswitch.ofproto.do_group import DO_GROUP
from vswitch.ofproto.do_output import DO_OUTPUT
from vswitch.ofproto.learn import DO_LEARN
from vswitch.ofproto.mirrors import mirror_in
from vswitch.ofproto.normal import normal
from vswitch.ofproto.packet import Packet
from vswitch.ofproto.paths import Paths
from vswitch.ofproto.places import IN_PORT, IP_FRAG
from vswitch.ofproto.recorder import Recorder
from vswitch.ofproto.run import ALL_BITS, UNSET, Run, TranslationError, pruned
from vswitch.ofproto.translation import FrozenState, Stage, Translation, View

__all__ = ["DO", "translate"]

_PLAIN = (
    a.SetField, a.RegLoad, a.RegMove, a.WriteMetadata, a.GotoTable, a.Resubmit, a.Output, a.WriteActions,
    a.ClearActions, a.Note, a.Conjunction,
)  # fmt: skip
"""Actions that decide by nothing but bits of the packet that they ask for, and by what `paths` is cleared for."""


def _not_plain(do: Callable[[Run, Any], None]) -> Callable[[Run, Any], None]:
    def doing(run: Run, action: Any) -> None:
        run.plain = False
        do(run, action)

    return doing


DO: dict[type, Callable[[Run, Any], None]] = {
    kind: do if kind in _PLAIN else _not_plain(do)
    for kind, do in {**DO_FIELDS, **DO_OUTPUT, **DO_GROUP, **DO_LEARN}.items()
}
"""Kind of action -> what does it."""

_ALWAYS = IN_PORT.mask | SLOTS["recirc_id"].mask
_RECIRC_ID = SLOTS["recirc_id"]
_ACTION_SET_OUTPUT = PIPELINE_SLOTS["actset_output"]
_UNSET_OUTPUT = _ACTION_SET_OUTPUT.place(UNSET)
_FRESH = ALL_BITS & ~_ACTION_SET_OUTPUT.mask
_FRAGMENT = IP_FRAG.place(1)
_DROP_FRAGMENTS = 1
_CLOSED_IN = PortConfig.NO_RECV | PortConfig.NO_RECV_STP
_ETH_DST = SLOTS["eth_dst"]
_STP_ADDRESS = _ETH_DST.place(0x0180C2000000)


def translate(
    view: View,
    key: int,
    frame: bytes | None,  # noqa: ARG001
    now_ns: int,
    *,
    recorder: Recorder | None = None,
    actions: tuple[FlowAction, ...] | None = None,
    resume: FrozenState | None = None,
    paths: Paths | None = None,
    snooped: str = "",
) -> Translation:
    """What becomes of the packet with this key (of a flow: in_port is OpenFlow's), and of those like it.

    A key with a recirculation id goes on where `view.frozen` says. `actions`: do these instead of looking it up, as a
    packet-out wants it. `resume`: go on from this state, as a controller wants it. `recorder`: is told of each step.
    `now_ns`: the time of the answer. `frame` (None: not known) is not looked at by any action that there is.
    `paths`: is told of the way that the packet took. `snooped`: what multicast snooping has made of it."""
    # hot: once per upcall
    packet = Packet(key & ~_ACTION_SET_OUTPUT.mask | _UNSET_OUTPUT, _FRESH, _ALWAYS)
    run = Run(view, packet, now_ns, DO, recorder, None if paths is None else [])
    run.snooped = snooped
    error = ""
    try:
        _walk(run, key, actions, resume)
        emitted = check_actions(tuple(pruned(packet.emitted)))
    except TranslationError as reason:
        error = str(reason)
    except LimitError as reason:
        error = f"the datapath cannot do it: {reason}"
    except ConfigError as reason:
        error = f"the datapath refuses it: {reason}"
    if recorder is not None:
        recorder.final = packet.key & ~_ACTION_SET_OUTPUT.mask
        if error:
            recorder.note(f">>>> {error} <<<<")
    if error:
        return Translation(
            (), packet.mask | packet.looked, tuple(run.rules), tuple(run.lookups), depends=frozenset(run.depends),
            error=error,
        )  # fmt: skip
    translation = Translation(
        emitted,
        packet.mask | packet.looked,
        tuple(run.rules),
        tuple(run.lookups),
        tuple(run.buckets),
        tuple(run.meters),
        tuple(run.controllers),
        tuple(run.effects),
        frozenset(run.depends),
        mirrors=run.mirrors,
    )
    if paths is not None and run.plain and resume is None and not IN_PORT.mask & ~packet.fresh and run.way is not None:
        paths.learn(packet.came, run.way, packet.mask, run.places, translation, actions)
    return translation


def _walk(run: Run, key: int, actions: tuple[FlowAction, ...] | None, resume: FrozenState | None) -> None:
    number = _RECIRC_ID.take(key)
    if resume is None and number:
        resume = run.view.frozen.get(number)
        if resume is None:
            raise TranslationError(f"nothing is known of recirculation id {number:#x}")
    if resume is not None:
        run.thaw(resume)
        run.go_on(list(resume.frames), top=True)
        return
    config = run.view.config
    if actions is not None:
        if config.mirrors:
            mirror_in(run)
        run.act(actions, Stage(None, None, "packet_out"))
        run.end(top=True)
        return
    if not _may_come_in(run):
        return
    if config.mirrors:
        mirror_in(run)
    if config.standalone:
        normal(run)
        return
    run.lookup(0, honour_miss=True)
    run.end(top=True)


def _may_come_in(run: Run) -> bool:
    """What the port and the handling of fragments say."""
    packet = run.packet
    if run.view.config.fragments == _DROP_FRAGMENTS and packet.consult(_FRAGMENT):
        return False
    in_port = IN_PORT.take(packet.key)
    run.depends.add(("port", in_port))
    port = run.view.ports.get(in_port)
    if run.view.config.mirrors and in_port in run.view.config.reserved:
        if run.recorder is not None:
            run.recorder.note(f">> port {in_port} is the output of a mirror alone, dropping")
        return False
    if port is None:
        return True
    if port.config & PortConfig.DOWN:
        return False
    if port.config & _CLOSED_IN:
        stp = packet.consult(_ETH_DST.mask) == _STP_ADDRESS
        return not port.config & (PortConfig.NO_RECV_STP if stp else PortConfig.NO_RECV)
    return True
