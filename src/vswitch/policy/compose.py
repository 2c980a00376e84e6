"""Policies made of policies. What the parts read is read by the whole, so megaflows are as wide as the parts allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.fields import FIELDS
from vswitch.model.actions import Action, Clone, Drop, Output, Sample, Userspace, check_actions
from vswitch.policy.packet import Packet
from vswitch.policy.run import Decision, Policy, Reply, Rewrite, drop, laid_out

__all__ = ["by_port", "by_vlan", "in_parallel", "in_sequence", "pass_on"]


class _PassOn:
    """The answer of a policy that leaves a packet to the next one."""

    def __repr__(self) -> str:
        return "pass_on"


pass_on: Any = _PassOn()
"""What a policy in a sequence returns to leave the packet to the next one."""


def in_sequence(*policies: Callable[[Packet], Any]) -> Policy:
    """Ask one after another; the first that does not return `pass_on` has decided. If all do, the packet is dropped."""

    def policy(packet: Packet) -> Any:
        for each in policies:
            answer = each(packet)
            if answer is not pass_on:
                return answer
        return drop

    return policy


def in_parallel(*policies: Policy) -> Policy:
    """Do what each of them says: their actions one after another, each output once. Who drops adds nothing. The answer
    holds as long as each of theirs. ConfigError: they change the packet, so the order of the policies would matter, or
    one of them replies."""

    def policy(packet: Packet) -> Decision:
        actions: dict[Action, None] = {}
        idle, hard = [], []
        for each in policies:
            decision = _as_decision(each(packet))
            idle.append(decision.idle_timeout_s)
            hard.append(decision.hard_timeout_s)
            if isinstance(decision.actions, Rewrite):
                raise ConfigError(
                    f"{decision.actions!r} of one of several policies in parallel changes the packet for others"
                )
            if isinstance(decision.actions, Reply):
                raise ConfigError("one of several policies in parallel replies: who replies decides alone")
            for action in check_actions(laid_out(decision.actions)):
                if _changes(action):
                    raise ConfigError(
                        f"{action!r} in one of several policies in parallel changes the packet for others"
                    )
                if isinstance(action, Drop):
                    break  # nothing behind it is executed
                actions[action] = None
        return Decision(tuple(actions) or drop, _shortest(idle), _shortest(hard))

    return policy


def by_port(policies: Mapping[int, Policy], otherwise: Policy | None = None) -> Policy:
    """Ask the policy of the port that the packet came in by. Without one, and without `otherwise`, it is dropped."""
    return _by("in_port", policies, otherwise)


def by_vlan(policies: Mapping[int | None, Policy], otherwise: Policy | None = None) -> Policy:
    """Ask the policy of the packet's VLAN, None for packets without a tag. Without one, and without `otherwise`, it is
    dropped."""
    return _by("vlan_vid", policies, otherwise)


def _by(field: str, policies: Mapping[Any, Policy], otherwise: Policy | None) -> Policy:
    """Numbers are compared one after another: who has none of them reads no more than it takes to know that.
    ConfigError: what is no number of the field."""
    for number in policies:
        if number is not None and (not isinstance(number, int) or not 0 <= number <= FIELDS[field].max):
            raise ConfigError(f"by {field}: {number!r} is outside 0..{FIELDS[field].max}")
    numbers = [number for number in policies if number is not None]

    def policy(packet: Packet) -> Any:
        reading = getattr(packet, field)
        if reading.present:
            chosen = next((policies[number] for number in numbers if reading == number), otherwise)
        else:
            chosen = policies.get(None, otherwise)
        return drop if chosen is None else chosen(packet)

    return policy


def _as_decision(answer: Any) -> Decision:
    """An answer with its timeouts, whatever form it has."""
    if answer is None or answer is pass_on:
        raise ConfigError(f"a policy in parallel with others returned {answer!r}, which is no answer")
    return answer if isinstance(answer, Decision) else Decision(answer)


def _shortest(timeouts: list[float | None]) -> float | None:
    return min((timeout for timeout in timeouts if timeout is not None), default=None)


def _changes(action: Action) -> bool:
    """Whether what follows this action sees another packet than what went before."""
    return not isinstance(action, Output | Drop | Clone | Sample | Userspace)
