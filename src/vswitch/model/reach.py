"""Which rules of a set no packet can ever reach."""

from __future__ import annotations

from collections.abc import Iterable

from vswitch.model.megaflow import Rule

__all__ = ["unreachable"]


def unreachable(rules: Iterable[Rule]) -> list[tuple[Rule, Rule]]:
    """(rule, the rule of higher priority that takes all of its packets), for each rule that one other rule hides.

    A rule that only several others hide together is not found: that question is as hard as satisfiability. Cost:
    one dictionary access for each rule and mask of higher priority.
    """
    found: list[tuple[Rule, Rule]] = []
    above: dict[int, dict[int, Rule]] = {}
    same: list[Rule] = []
    for rule in sorted(rules, key=lambda rule: -rule.priority):
        if same and same[0].priority != rule.priority:
            for other in same:
                above.setdefault(other.match.mask, {}).setdefault(other.match.value, other)
            same = []
        same.append(rule)
        for mask, values in above.items():
            hiding = values.get(rule.match.value & mask) if mask & ~rule.match.mask == 0 else None
            if hiding is not None:
                found.append((rule, hiding))
                break
    return found
