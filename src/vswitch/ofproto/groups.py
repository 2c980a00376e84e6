"""Groups: lists of buckets that flows and other groups point to.

What a packet does in a group is the translation's; here is what controllers have configured, what was counted, and who
points to whom.

Invariant: groups point to groups that exist, and from none is there a way back to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from vswitch.messages.actions import Group as GroupAction
from vswitch.messages.actions import WriteActions
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import ANY_GROUP, ANY_PORT, Bucket, GroupCommand, GroupMod, GroupType
from vswitch.messages.stats import BucketStats, GroupDescription, GroupFeatures, GroupStats
from vswitch.ofproto.journal import Journal
from vswitch.ofproto.rule import Rule

__all__ = ["ALL_GROUPS", "MAX_BUCKETS", "MAX_GROUPS", "Group", "GroupChange", "Groups"]

MAX_GROUPS = 65536
"""Groups of one switch."""
MAX_BUCKETS = 2048
"""Buckets of one group: as many as fit into one message, about."""
LAST_GROUP = 0xFFFFFF00
ALL_GROUPS = 0xFFFFFFFC
_FIRST_BUCKET, _LAST_BUCKET, _ALL_BUCKETS = 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF
_MAX_BUCKET_ID = 0xFFFFFF00
_TYPES = 0b1111
_SELECT_WEIGHT, _SELECT_LIVENESS, _CHAINING, _CHAINING_CHECKS = 1, 2, 4, 8
_ACTIONS = 1 << 0 | sum(1 << bit for bit in (15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25))
_SELECTIONS = ("", "hash", "dp_hash")


@dataclass(frozen=True, slots=True)
class GroupChange:
    """`kind`: "added", "modified", "deleted"."""

    kind: str
    group: Group


class Group:
    """A group and what it has counted. `bucket_counts`: [packets, bytes] of each bucket. `rules`: the flows that name
    it; `parents`: the groups that do."""

    __slots__ = (
        "bucket_counts", "buckets", "bytes", "created_ns", "fields", "id", "packets", "parents", "rules", "selection",
        "selection_param", "type",
    )  # fmt: skip

    def __init__(self, number: int, now_ns: int) -> None:
        self.id = number
        self.type = GroupType.ALL
        self.buckets: tuple[Bucket, ...] = ()
        self.selection = ""
        self.selection_param = 0
        self.fields: tuple[tuple[str, int], ...] = ()
        self.created_ns = now_ns
        self.packets = self.bytes = 0
        self.bucket_counts: list[list[int]] = []
        self.rules: dict[Rule, None] = {}
        self.parents: set[int] = set()

    def credit(self, packets: int, size: int) -> None:
        """So many packets and bytes were given to it."""
        self.packets += packets
        self.bytes += size

    def credit_bucket(self, index: int, packets: int, size: int) -> None:
        """So many packets and bytes went to that bucket; none if it is there no more."""
        if index < len(self.bucket_counts):
            self.bucket_counts[index][0] += packets
            self.bucket_counts[index][1] += size

    def children(self) -> set[int]:
        """The groups that its buckets name in their actions."""
        return {number for bucket in self.buckets for number in _named(bucket)}

    def statistics(self, now_ns: int) -> GroupStats:
        """What it has counted."""
        references = len(self.rules) + len(self.parents)
        buckets = tuple(BucketStats(packets, size) for packets, size in self.bucket_counts)
        return GroupStats(self.id, references, self.packets, self.bytes, now_ns - self.created_ns, buckets)

    def description(self) -> GroupDescription:
        """What it is."""
        return GroupDescription(
            self.id, self.type, self.buckets, self.selection, self.selection_param, self.fields
        )  # fmt: skip

    def _state(self) -> tuple[GroupType, tuple[Bucket, ...], str, int, tuple[tuple[str, int], ...], list[list[int]]]:
        return self.type, self.buckets, self.selection, self.selection_param, self.fields, self.bucket_counts

    def _become(
        self,
        kind: GroupType,
        buckets: tuple[Bucket, ...],
        selection: str,
        param: int,
        fields: tuple[tuple[str, int], ...],
        counts: list[list[int]],
    ) -> None:
        self.type, self.buckets, self.selection, self.selection_param = kind, buckets, selection, param
        self.fields, self.bucket_counts = fields, counts


def _named(bucket: Bucket) -> set[int]:
    found = set[int]()
    for action in bucket.actions:
        if isinstance(action, GroupAction):
            found.add(action.id)
        elif isinstance(action, WriteActions):
            found |= {each.id for each in action.actions if isinstance(each, GroupAction)}
    return found


class Groups:
    """Number -> group. `check`: refuses the actions of a bucket that the switch cannot do (OpenFlowError)."""

    def __init__(self, journal: Journal | None = None, *, max_groups: int = MAX_GROUPS) -> None:
        self._groups: dict[int, Group] = {}
        self._journal = journal or Journal()
        self.max_groups = max_groups
        self.check: Callable[[Bucket], None] = _no_check

    def __contains__(self, number: object) -> bool:
        return number in self._groups

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter([self._groups[number] for number in sorted(self._groups)])

    def get(self, number: int) -> Group | None:
        """The group of this number, if there is one."""
        return self._groups.get(number)

    def apply(self, mod: GroupMod, now_ns: int) -> list[GroupChange]:
        """Change groups. The flows that point to a group that is deleted are to go; the caller sees to it. Raises
        OpenFlowError as section 7.5.4.7 of OpenFlow 1.5.1 has it; nothing is changed then."""
        known = self._groups.get(mod.id)
        command = mod.command
        if command == GroupCommand.DELETE:
            return self._delete(mod.id)
        if mod.id > LAST_GROUP:
            raise _refuse("invalid_group", f"group {mod.id:#x} is past the last, {LAST_GROUP:#x}")
        if command == GroupCommand.ADD_OR_MODIFY:
            command = GroupCommand.ADD if known is None else GroupCommand.MODIFY
        if command == GroupCommand.ADD:
            if known is not None:
                raise _refuse("group_exists", f"there is a group {mod.id} already")
            return [self._add(mod, now_ns)]
        if known is None:
            raise _refuse("unknown_group", f"there is no group {mod.id}")
        if command == GroupCommand.MODIFY:
            return [self._modify(known, mod)]
        if command == GroupCommand.INSERT_BUCKET:
            return [self._change(known, _inserted(known, mod), mod)]
        if command == GroupCommand.REMOVE_BUCKET:
            return [self._change(known, _left(known, mod), mod)]
        raise _refuse("bad_command", f"group-mod: unknown command {mod.command}")

    def _add(self, mod: GroupMod, now_ns: int) -> GroupChange:
        if len(self._groups) >= self.max_groups:
            raise _refuse("out_of_groups", f"there are {self.max_groups} groups already")
        buckets = self._checked(mod)
        group = Group(mod.id, now_ns)
        group._become(
            mod.type, buckets, mod.selection, mod.selection_param, mod.fields, [[0, 0] for _ in buckets]
        )  # fmt: skip
        self._journal.note(self._forget, mod.id)
        self._groups[mod.id] = group
        self._adopt(mod.id, set(), group.children())
        return GroupChange("added", group)

    def _modify(self, group: Group, mod: GroupMod) -> GroupChange:
        buckets = self._checked(mod)
        self._replace(
            group, (mod.type, buckets, mod.selection, mod.selection_param, mod.fields, [[0, 0] for _ in buckets])
        )
        return GroupChange("modified", group)

    def _change(self, group: Group, kept: list[tuple[Bucket, list[int]]], mod: GroupMod) -> GroupChange:
        """Other buckets, each with what it has counted."""
        buckets = tuple(bucket for bucket, _ in kept)
        checked = self._checked(replace(mod, type=group.type, buckets=buckets, selection=group.selection))
        counts = [count for _, count in kept]
        self._replace(group, (group.type, checked, group.selection, group.selection_param, group.fields, counts))
        return GroupChange("modified", group)

    def _replace(
        self,
        group: Group,
        state: tuple[GroupType, tuple[Bucket, ...], str, int, tuple[tuple[str, int], ...], list[list[int]]],
    ) -> None:
        before, was = group.children(), group._state()
        group._become(*state)
        self._adopt(group.id, before, group.children())
        self._journal.note(self._restore, group, was)

    def _restore(
        self,
        group: Group,
        state: tuple[GroupType, tuple[Bucket, ...], str, int, tuple[tuple[str, int], ...], list[list[int]]],
    ) -> None:
        before = group.children()
        group._become(*state)
        self._adopt(group.id, before, group.children())

    def _forget(self, number: int) -> None:
        group = self._groups.pop(number)
        self._adopt(number, group.children(), set())

    def _remember(self, group: Group) -> None:
        self._groups[group.id] = group
        self._adopt(group.id, set(), group.children())

    def _adopt(self, parent: int, before: set[int], after: set[int]) -> None:
        for number in before - after:
            if number in self._groups:
                self._groups[number].parents.discard(parent)
        for number in after - before:
            if number in self._groups:
                self._groups[number].parents.add(parent)

    def _delete(self, number: int) -> list[GroupChange]:
        """No error if there is none (OpenFlow 1.3.5 section 6.7)."""
        if number == ALL_GROUPS:
            gone = list(self)
        else:
            gone = [self._groups[number]] if number in self._groups else []
            parents = sorted(gone[0].parents) if gone else []
            if parents:
                raise _refuse("chained_group", f"group {number} is in a bucket of group {parents[0]}")
        for group in gone:
            self._forget(group.id)
            self._journal.note(self._remember, group)
        return [GroupChange("deleted", group) for group in gone]

    # ---- what is refused

    def _checked(self, mod: GroupMod) -> tuple[Bucket, ...]:
        """The buckets as they are to be, each with an id of its own. OpenFlowError: the switch cannot do that."""
        if mod.type not in tuple(GroupType):
            raise _refuse("bad_type", f"group {mod.id}: unknown type {mod.type}")
        if mod.selection not in _SELECTIONS:
            raise _refuse("bad_type", f"group {mod.id}: unknown selection method {mod.selection!r}")
        if mod.selection and mod.type != GroupType.SELECT:
            raise _refuse(
                "bad_type", f"group {mod.id}: selection method {mod.selection!r} of a group that selects nothing"
            )
        if len(mod.buckets) > MAX_BUCKETS:
            raise _refuse("out_of_buckets", f"group {mod.id}: {len(mod.buckets)} buckets are more than {MAX_BUCKETS}")
        if mod.type == GroupType.INDIRECT and len(mod.buckets) != 1:
            raise _refuse("invalid_group", f"group {mod.id}: an indirect group has one bucket, not {len(mod.buckets)}")
        self._check_loop(mod)
        for bucket in mod.buckets:
            self._check_bucket(mod, bucket)
        return _numbered(mod)

    def _check_bucket(self, mod: GroupMod, bucket: Bucket) -> None:
        if bucket.weight and mod.type != GroupType.SELECT and bucket.weight != 1:
            raise _refuse("invalid_group", f"group {mod.id}: only buckets of select groups have weights")
        if mod.type == GroupType.FAST_FAILOVER and bucket.watch_port == ANY_PORT and bucket.watch_group == ANY_GROUP:
            raise _refuse("invalid_group", f"group {mod.id}: a bucket that watches neither port nor group")
        for number in _named(bucket):
            if number != mod.id and number not in self._groups:
                raise OpenFlowError("bad_action.bad_out_group", f"group {mod.id}: there is no group {number}")
        self.check(bucket)

    def _check_loop(self, mod: GroupMod) -> None:
        """No way from the buckets of the group back to it."""
        reached = {
            number for bucket in mod.buckets for number in (*_named(bucket), bucket.watch_group) if number != ANY_GROUP
        }
        pending = list(reached)
        while pending:
            number = pending.pop()
            if number == mod.id:
                raise _refuse("loop", f"group {mod.id}: its buckets lead back to it")
            group = self._groups.get(number)
            if group is None:
                continue
            further = group.children() | {each.watch_group for each in group.buckets if each.watch_group != ANY_GROUP}
            pending.extend(further - reached)
            reached |= further

    # ---- what requests ask for

    def chosen(self, number: int, *, default_all: tuple[int, ...] = (ALL_GROUPS, ANY_GROUP)) -> list[Group]:
        """The group of this number, or all. Empty if there is none."""
        if number in default_all:
            return list(self)
        group = self._groups.get(number)
        return [] if group is None else [group]

    def features(self) -> GroupFeatures:
        """What groups there can be."""
        capabilities = _SELECT_WEIGHT | _SELECT_LIVENESS | _CHAINING | _CHAINING_CHECKS
        most = self.max_groups
        return GroupFeatures(_TYPES, capabilities, (most,) * 4, (_ACTIONS,) * 4)


def _no_check(_bucket: Bucket) -> None:
    return None


def _refuse(code: str, text: str) -> OpenFlowError:
    return OpenFlowError(f"group_mod_failed.{code}", text)


def _numbered(mod: GroupMod) -> tuple[Bucket, ...]:
    """Buckets without an id get the least that is free."""
    used = set[int]()
    for bucket in mod.buckets:
        if bucket.id is None:
            continue
        if bucket.id > _MAX_BUCKET_ID:
            raise _refuse("bad_bucket", f"group {mod.id}: bucket {bucket.id:#x} is past the last, {_MAX_BUCKET_ID:#x}")
        if bucket.id in used:
            raise _refuse("bucket_exists", f"group {mod.id}: two buckets {bucket.id}")
        used.add(bucket.id)
    numbered, following = [], 0
    for bucket in mod.buckets:
        if bucket.id is None:
            while following in used:
                following += 1
            numbered.append(replace(bucket, id=following))
            following += 1
        else:
            numbered.append(bucket)
    return tuple(numbered)


def _position(group: Group, bucket_id: int) -> int:
    for index, bucket in enumerate(group.buckets):
        if bucket.id == bucket_id:
            return index
    raise _refuse("unknown_bucket", f"group {group.id} has no bucket {bucket_id:#x}")


def _counted(group: Group) -> list[tuple[Bucket, list[int]]]:
    return list(zip(group.buckets, group.bucket_counts, strict=True))


def _inserted(group: Group, mod: GroupMod) -> list[tuple[Bucket, list[int]]]:
    """The group's buckets with those of `mod` first, last, or behind the one that it names."""
    if mod.bucket_id == _ALL_BUCKETS:
        raise _refuse("bad_bucket", f"group {group.id}: buckets are not inserted behind all")
    new = [(bucket, [0, 0]) for bucket in mod.buckets]
    there = {bucket.id for bucket in group.buckets}
    for bucket in mod.buckets:
        if bucket.id is not None and bucket.id in there:
            raise _refuse("bucket_exists", f"group {group.id} has a bucket {bucket.id} already")
    old = _counted(group)
    if mod.bucket_id == _FIRST_BUCKET:
        return new + old
    if mod.bucket_id == _LAST_BUCKET:
        return old + new
    behind = _position(group, mod.bucket_id) + 1
    return old[:behind] + new + old[behind:]


def _left(group: Group, mod: GroupMod) -> list[tuple[Bucket, list[int]]]:
    """The group's buckets without the one, or those, that `mod` removes."""
    old = _counted(group)
    if mod.bucket_id == _ALL_BUCKETS:
        return []
    if mod.bucket_id == _FIRST_BUCKET:
        return old[1:]
    if mod.bucket_id == _LAST_BUCKET:
        return old[:-1]
    position = _position(group, mod.bucket_id)
    return old[:position] + old[position + 1 :]
