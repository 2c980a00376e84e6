"""What follows from a packet besides that it is forwarded.

Addresses and flows are learned, timeouts are cut short, counters go up.

Translations only say so; here it is done: for the first packet at once, for others when their megaflow has counted
them. What is done may change what other translations would say; that is noted in `changes`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from vswitch.messages.errors import OpenFlowError
from vswitch.ofproto.translation import FinTimedOut, Learned, MacLearned

if TYPE_CHECKING:
    from vswitch.bridge.revalidation import Revalidator
    from vswitch.ofproto.normal import MacTable
    from vswitch.ofproto.switch import Outcome, Switch
    from vswitch.ofproto.translation import Dependency, Effect, Translation

__all__ = ["Effects"]


class Effects:
    """Does them. `failed` counts learned flows that the tables refused."""

    def __init__(
        self, switch: Switch, macs: MacTable, revalidator: Revalidator, carry_out: Callable[[Outcome], None]
    ) -> None:
        self._switch = switch
        self._macs = macs
        self._revalidator = revalidator
        self._carry_out = carry_out
        self.credit_mirrors: Callable[[Iterable[str], int, int], None] = lambda _names, _packets, _size: None
        self.failed = 0

    def credit(self, translation: Translation, packets: int, size: int, used_ns: int) -> None:
        """So many packets, of so many bytes in all, went as it says, the last at that time."""
        # hot: once a second for each megaflow that is in use
        for rule in translation.rules:
            rule.credit(packets, size, used_ns)
        tables = self._switch.tables
        for lookup in translation.lookups:
            table = tables[lookup.table]
            table.lookups += packets
            if lookup.rule is not None:
                table.matched += packets
        if translation.buckets:
            self._credit_groups(translation, packets, size)
        if translation.mirrors:
            self.credit_mirrors(translation.mirrors, packets, size)

    def _credit_groups(self, translation: Translation, packets: int, size: int) -> None:
        credited = set()
        for number, bucket in translation.buckets:
            group = self._switch.groups.get(number)
            if group is not None:
                if number not in credited:
                    credited.add(number)
                    group.credit(packets, size)
                group.credit_bucket(bucket, packets, size)

    def used(self, translation: Translation, packets: int, size: int, used_ns: int) -> None:
        """The same, of a megaflow that was used: its effects are done once more."""
        self.credit(translation, packets, size, used_ns)
        if translation.effects:
            self.perform(translation.effects, used_ns)

    def perform(self, effects: Iterable[Effect], now_ns: int) -> Collection[Dependency]:
        """Do them. What translations of the past may have depended on, and that is another now."""
        # hot: once per packet that NORMAL has forwarded
        changed: set[Dependency] = set()
        for effect in effects:
            if type(effect) is MacLearned:
                found = self._macs.learn(effect, now_ns)
                if found:
                    changed.update([("mac", vlan, mac) for vlan, mac in found])
            elif type(effect) is Learned:
                self._learn(effect, now_ns)
            else:
                assert isinstance(effect, FinTimedOut)
                self._switch.tables.reduce_timeouts(effect.rule, effect.idle_timeout_s, effect.hard_timeout_s)
        if changed:
            self._revalidator.note_parts(changed)
        return changed

    def _learn(self, effect: Learned, now_ns: int) -> None:
        mod, tables = effect.flow_mod, self._switch.tables
        table = mod.table or 0
        if effect.limit and not tables[table].may_learn(mod, effect.limit):
            return
        if effect.delete_learned and effect.rule is not None and not tables.teaches(table, mod.cookie):
            return  # its packet came before the flow went that taught this, and with it what was learned
        try:
            outcome = self._switch.flow_mod(mod, now_ns, learned=True)
        except OpenFlowError:
            self.failed += 1
        else:
            if outcome.changes:
                self._carry_out(outcome)
