"""Bundles: messages that are kept until a commit, and then done in order, all or none.

Nothing else happens during a commit, so that nobody sees a part of it. If a message is refused, the journal takes back
what those before it have done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitch.messages.control import BundleAdd, BundleControl, BundleControlType, Error
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import FlowMod, GroupMod, MeterMod, PacketOut, TableMod
from vswitch.messages.ports import PortMod
from vswitch.ofproto.session import MAX_BUNDLE_BYTES, MAX_BUNDLE_MESSAGES, MAX_BUNDLES, OpenBundle, Session

if TYPE_CHECKING:
    from vswitch.ofproto.switch import Outcome, Switch

__all__ = ["handle_bundle_add", "handle_bundle_control"]

_ATOMIC, _ORDERED = 1, 2
_MAY_BE_IN_ONE = (FlowMod, GroupMod, MeterMod, PortMod, TableMod, PacketOut)


def handle_bundle_control(
    switch: Switch, message: BundleControl, xid: int, session: Session, now_ns: int, outcome: Outcome
) -> None:
    """Open, close, commit or discard a bundle. OpenFlowError as section 7.5.4.18 of OpenFlow 1.5.1 has it."""
    kind, number = message.type, message.bundle
    if kind == BundleControlType.OPEN_REQUEST:
        if number in session.bundles:
            session.bundles.pop(number)
            raise _refuse("bundle_exist", f"there is a bundle {number} already")
        _open(session, number, message.flags)
    elif kind == BundleControlType.CLOSE_REQUEST:
        bundle = _known(session, number, message.flags)
        if bundle.closed:
            session.bundles.pop(number)
            raise _refuse("bundle_closed", f"bundle {number} is closed already")
        bundle.closed = True
    elif kind == BundleControlType.COMMIT_REQUEST:
        bundle = _known(session, number, message.flags)
        del session.bundles[number]
        _commit(switch, bundle, session, now_ns, outcome)
    elif kind == BundleControlType.DISCARD_REQUEST:
        if session.bundles.pop(number, None) is None:
            raise _refuse("bad_id", f"there is no bundle {number}")
    else:
        raise _refuse("bad_type", f"bundle control of type {int(kind)} is no request")
    outcome.replies.append((BundleControl(number, BundleControlType(kind + 1), message.flags), xid))


def handle_bundle_add(
    switch: Switch, message: BundleAdd, xid: int, session: Session, _now_ns: int, _outcome: Outcome
) -> None:
    """Put a message into a bundle, which is opened if need be. OpenFlowError: it is closed, or has no room."""
    bundle = session.bundles.get(message.bundle)
    if bundle is None:
        bundle = _open(session, message.bundle, message.flags)
    elif bundle.closed:
        session.bundles.pop(message.bundle)
        raise _refuse("bundle_closed", f"bundle {message.bundle} is closed")
    elif message.flags != bundle.flags:
        session.bundles.pop(message.bundle)
        raise _refuse("bad_flags", f"bundle {message.bundle} has flags {bundle.flags:#x}, not {message.flags:#x}")
    if message.xid != xid:
        raise _refuse("msg_bad_xid", f"the message in the bundle has xid {message.xid:#x}, not {xid:#x}")
    if not isinstance(message.message, _MAY_BE_IN_ONE):
        raise _refuse("msg_unsup", f"{type(message.message).__name__} cannot be in a bundle")
    size = len(message.raw)
    _check_room(switch, session, size)
    bundle.messages.append((message.message, message.xid))
    bundle.size += size


def _check_room(switch: Switch, session: Session, size: int) -> None:
    """OpenFlowError: with one more message of so many bytes the session would have more than it leaves for others."""
    own_messages, own_bytes = _held(session)
    messages, all_bytes = own_messages, own_bytes
    for other in switch.sessions:
        if other.bundles and other is not session:
            others_messages, others_bytes = _held(other)
            messages, all_bytes = messages + others_messages, all_bytes + others_bytes
    if own_messages + 1 > 2 * MAX_BUNDLE_MESSAGES - (messages + 1):
        text = f"a session with {own_messages} messages in bundles, of {messages} in all, may have no more"
        raise _refuse("msg_too_many", f"{text}: at most {MAX_BUNDLE_MESSAGES}, and as many as it leaves for others")
    if own_bytes + size > 2 * MAX_BUNDLE_BYTES - (all_bytes + size):
        text = f"a session with {own_bytes} bytes in bundles, of {all_bytes} in all, may have no {size} more"
        raise _refuse("msg_too_many", f"{text}: at most {MAX_BUNDLE_BYTES}, and as many as it leaves for others")


def _held(session: Session) -> tuple[int, int]:
    """Messages in its bundles, and their bytes."""
    bundles = session.bundles.values()
    return sum(len(each.messages) for each in bundles), sum(each.size for each in bundles)


def _refuse(code: str, text: str) -> OpenFlowError:
    return OpenFlowError(f"bundle_failed.{code}", text)


def _open(session: Session, number: int, flags: int) -> OpenBundle:
    if flags & ~(_ATOMIC | _ORDERED):
        raise _refuse("bad_flags", f"bundle {number}: unknown flags {flags:#x}")
    if len(session.bundles) >= MAX_BUNDLES:
        raise _refuse("out_of_bundles", f"the session has {MAX_BUNDLES} bundles, as many as it may")
    session.bundles[number] = bundle = OpenBundle(flags)
    return bundle


def _known(session: Session, number: int, flags: int) -> OpenBundle:
    bundle = session.bundles.get(number)
    if bundle is None:
        raise _refuse("bad_id", f"there is no bundle {number}")
    if flags != bundle.flags:
        session.bundles.pop(number)
        raise _refuse("bad_flags", f"bundle {number} has flags {bundle.flags:#x}, not {flags:#x}")
    return bundle


def _commit(switch: Switch, bundle: OpenBundle, session: Session, now_ns: int, outcome: Outcome) -> None:
    """All of it, or none: then the error of the message that was refused comes first, under that message's xid."""
    done = type(outcome)()
    switch.journal.begin()
    try:
        for message, xid in bundle.messages:
            try:
                switch.apply(message, session, xid, now_ns, done)
            except OpenFlowError as error:
                outcome.replies.append((Error(error.error, error.data, error.text), xid))
                raise _refuse("msg_failed", f"{type(message).__name__} in the bundle: {error}") from error
    except OpenFlowError:
        switch.journal.rollback()
        raise
    switch.journal.commit()
    outcome.absorb(done)
