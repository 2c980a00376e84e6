"""Megaflows: the masked rules that lie in the datapath, and what they have counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from vswitch.base.errors import ConfigError
from vswitch.base.limits import MAX_PRIORITY, MAX_TIMEOUT_S
from vswitch.model.actions import Action, check_actions
from vswitch.model.match import Match

__all__ = ["FlowStats", "Megaflow", "Rule", "check_priority"]


def check_priority(priority: int) -> None:
    """ConfigError if it is none: outside 0..65535, or no int."""
    if not isinstance(priority, int) or priority is True or not 0 <= priority <= MAX_PRIORITY:
        raise ConfigError(f"priority {priority!r} is outside 0..{MAX_PRIORITY}")


@dataclass(frozen=True, slots=True)
class FlowStats:
    """What a megaflow has counted: `packets`, and `bytes` of whole frames; a packet that is not cut into segments yet
    (GSO) is one. `used_s` is the age of the last packet in seconds, None if there was none; `tcp_flags` the union of
    all TCP flags seen, bit 0 FIN; `age_s` the seconds since the megaflow was installed, or was given other timeouts."""

    packets: int = 0
    bytes: int = 0
    used_s: float | None = None
    tcp_flags: int = 0
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What a program asks to be installed: packets in `match` get `actions`; of rules that overlap the highest
    `priority` wins.

    `priority` 0..65535. `idle_timeout_s`: removed after that long without a packet; `hard_timeout_s`: removed
    that long after it was installed; both in seconds, 0.001 to 46 days, rounded to milliseconds, None for never.

    ConfigError: an action that is none, a priority or timeout out of its bound; LimitError: too many actions, or nested
    too deep.
    """

    match: Match
    actions: tuple[Action, ...] = ()
    priority: int = 0
    idle_timeout_s: float | None = None
    hard_timeout_s: float | None = None

    def __post_init__(self) -> None:
        # hot: once per megaflow
        actions = check_actions(self.actions)
        if actions is not self.actions:
            object.__setattr__(self, "actions", actions)
        check_priority(self.priority)
        if self.idle_timeout_s is None and self.hard_timeout_s is None:
            return
        for name in ("idle", "hard"):
            timeout = getattr(self, f"{name}_timeout_s")
            if timeout is None:
                continue
            if not isinstance(timeout, int | float) or not 0.001 <= timeout <= MAX_TIMEOUT_S:
                raise ConfigError(f"{name} timeout {timeout!r} s is outside 0.001..{MAX_TIMEOUT_S}")
            object.__setattr__(self, f"{name}_timeout_s", round(timeout * 1000) / 1000)

    @classmethod
    def plain(cls, match: Match, actions: Action | Iterable[Action], *, idle_timeout_s: float | None = None) -> Rule:
        """Of priority 0, without a hard timeout: the same as Rule(match, actions), in half the time. The idle timeout
        must be one that a rule can have, of whole milliseconds."""
        # hot: once per upcall
        rule = object.__new__(Rule)
        _set_match(rule, match)
        _set_actions(rule, check_actions(actions))
        _set_priority(rule, 0)
        _set_idle(rule, idle_timeout_s)
        _set_hard(rule, None)
        return rule


_set_match, _set_actions, _set_priority, _set_idle, _set_hard = (Rule.__dict__[name].__set__ for name in Rule.__slots__)


@dataclass(frozen=True, slots=True)
class Megaflow(Rule):
    """A rule as it lies in the datapath, with its statistics at the time it was read."""

    stats: FlowStats = field(default_factory=FlowStats, compare=False)

    @property
    def rule(self) -> Rule:
        """The rule alone, without statistics."""
        return Rule(self.match, self.actions, self.priority, self.idle_timeout_s, self.hard_timeout_s)

    def with_stats(self, stats: FlowStats) -> Megaflow:
        """The same megaflow with these statistics."""
        return replace(self, stats=stats)
