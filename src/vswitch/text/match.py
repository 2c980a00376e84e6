"""Matches as text: `in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0),tcp(dst=80)`.

    match  = "any" | "" | group ("," group)*
    group  = NAME "(" [member ("," member)*] ")" | NAME "(" value ")" | "encap(" match ")"
    member = NAME "=" value | NAME "(" flags ")"
    value  = VALUE ["/" MASK]

A group says what it needs: `tcp(dst=80)` adds IP protocol 6, `ipv4()` Ethernet type 0x0800 and nothing else.
What holds anyway because of another group is not written, but for groups of one value, as `eth_type(0x0800)`.

Three things differ from Open vSwitch's kernel datapath, where each could surprise:

  * What is not mentioned is not looked at. There, a flow without `vlan()` takes untagged packets only, and
    one without `recirc_id()` those that have just arrived; here write `vlan(present=0)` and `recirc_id(0)`.
  * VLAN tags are written flat, outermost first, with the type of what they carry: `vlan(vid=5),eth_type(0x0800)`,
    a second tag as `cvlan(...)`. The nested form `eth_type(0x8100),vlan(vid=5),encap(eth_type(0x0800))` is read;
    its outer types become `vlan_tpid` and `cvlan_tpid`.
  * Bits that are matched although nothing says that the packet has them, or that belong to no field, are
    written as `raw(w5=0x1f00/0xff00)`: 64-bit words of the key, by number, as the kernel (little-endian) holds them.

Invariant: `parse_match(format_match(match)) == match` for every match. A field is written as one only if
reading it adds nothing that the match does not hold; the rest is raw.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vswitch.base.errors import ConfigError
from vswitch.fields import FIELDS, KEY_BYTES, Field
from vswitch.model.actions import VLAN_PROTOCOLS
from vswitch.model.match import Match
from vswitch.text.groups import GROUPS, NEEDS, RAW, WORDS, Member, Needs, format_group, read_group
from vswitch.text.scan import Scanner
from vswitch.text.values import Names, Numbers

__all__ = ["MatchReader", "format_match", "parse_match"]

ANY = "any"
ENCAPSULATED = "encap"
VLAN_GROUPS = ("vlan", "cvlan")
"""The group `vlan`, by the number of `encap(` around it."""

_ETH_TYPE = FIELDS["eth_type"]
_VIEWS = tuple((view, view.mask) for view in FIELDS.values() if view.texts)
_LEADING = (
    *("skb_priority", "tunnel", "skb_mark", "ct_state", "ct_zone", "ct_mark", "ct_label", "ct_tuple4", "ct_tuple6"),
    *("recirc_id", "dp_hash", "in_port", "eth", "vlan", "cvlan"),
)
"""What is written first, as Open vSwitch does; the other groups follow in the registry's order."""
_RANK = {group: rank for rank, group in enumerate(dict.fromkeys((*_LEADING, *GROUPS)))}


def parse_match(text: str, ports: Numbers = None) -> Match:
    """The match that `text` writes; in_port may be a name of `ports`. TextError shows where it goes wrong."""
    scanner = Scanner(text)
    reader = MatchReader(scanner, ports)
    if scanner.peek():
        for position in scanner.items():
            reader.read(scanner.word("a match group"), position)
    scanner.end()
    return reader.match()


def format_match(match: Match, names: Names = None) -> str:
    """The text of `match`, `any` for that of all packets; in_port by its name in `names` if it has one.

    ConfigError if the match has bits beyond the flow key.
    """
    if match.mask >> 8 * KEY_BYTES:
        raise ConfigError(f"match has bits beyond the {KEY_BYTES} bytes of the flow key")
    groups = _written(match)
    return ",".join(format_group(group, groups[group], names) for group in sorted(groups, key=_RANK.__getitem__)) or ANY


def _written(match: Match) -> dict[str, list[tuple[str, Field, int, int]]]:
    """What is written: group -> (member, field, value, mask)."""
    rest = match.mask
    found: list[tuple[str, str, Field, int]] = []
    for view, view_mask in _VIEWS:
        bits = rest & view_mask
        if bits and _writable(view, match):
            text = _text(view, match)
            if text:
                rest &= ~view_mask
                found.append((*text, view, view.take(bits)))
    implied = {need for _, _, view, _ in found for need, allowed in view.prerequisites if len(allowed) == 1}
    groups: dict[str, list[tuple[str, Field, int, int]]] = {}
    for group, member, view, mask in found:
        if not member or view.name not in implied:
            groups.setdefault(group, []).append((member, view, view.take(match.value) & mask, mask))
    for word in WORDS:
        mask = word.take(rest)
        if mask:
            groups.setdefault(RAW, []).append((word.texts[0][1], word, word.take(match.value) & mask, mask))
    return groups


def _writable(view: Field, match: Match) -> bool:
    """Whether reading the text of `view` would add nothing that `match` does not hold."""
    chosen = True
    for need, allowed in view.prerequisites:
        if _holds(need, allowed, match):
            if not _writable(FIELDS[need], match):
                return False
        elif len(allowed) == 1:
            return False
        else:
            chosen = False
    if chosen:
        return True
    views = (view, *(FIELDS[need] for need, _ in view.prerequisites))
    try:  # a choice (IPv4 or IPv6) that the match leaves open: the model knows for which fields that will do
        return Match(**{v.name: (v.take(match.value), v.take(match.mask)) for v in views}).covers(match)
    except ConfigError:
        return False


def _holds(need: str, allowed: tuple[int, ...], match: Match) -> bool:
    view = FIELDS[need]
    return view.take(match.mask) == view.max and view.take(match.value) in allowed


def _text(view: Field, match: Match) -> tuple[str, str] | None:
    """The group and member for `view`; of several the first whose group says no more than `match` does."""
    if len(view.texts) == 1:
        return view.texts[0]
    for group, member in view.texts:
        if all(len(allowed) > 1 or _holds(need, allowed, match) for need, allowed in NEEDS[group]):
            return group, member
    return None


@dataclass(slots=True)
class _Level:
    """What stands side by side: the whole match, or the inside of one `encap`."""

    depth: int = 0
    eth_type: Member | None = None
    tag_position: int | None = None
    """Of the first VLAN group after the Ethernet type."""
    encapsulated: bool = False


@dataclass(frozen=True, slots=True)
class _Claim:
    """A group said what the packet is: `needs` hold. `alone`: and nothing else, so nothing may be left open."""

    group: str
    needs: Needs
    alone: bool
    position: int


@dataclass(slots=True)
class MatchReader:
    """Collects the groups of one match; `match` puts them together once all are read."""

    scanner: Scanner
    ports: Numbers
    _outermost: _Level = field(default_factory=_Level)
    _fields: dict[str, Member] = field(default_factory=dict)
    _claims: list[_Claim] = field(default_factory=list)
    _words: list[Member] = field(default_factory=list)
    _any_position: int | None = None
    _groups: int = 0

    def read(self, group: str, position: int) -> None:
        """Reads the rest of a group, whose name stands at `position`."""
        self._read(group, position, self._outermost)

    def match(self) -> Match:
        """The match of all that was read. TextError if no packet can be so."""
        if self._any_position is not None and self._groups > 1:
            raise self.scanner.fail(f"{ANY} stands alone", self._any_position)
        self._close(self._outermost)
        for claim in self._claims:
            self._meet(claim)
        in_order = sorted(self._fields.items(), key=lambda item: item[1].position)
        fields = {name: (member.value, member.mask) for name, member in in_order}
        try:
            match = Match(**fields)
        except ConfigError as error:
            raise self.scanner.fail(str(error), self._culprit(fields, str(error))) from error
        for member in self._fields.values():
            if not member.mask and match.mask & member.view.mask:
                raise self.scanner.fail(f"{member.view.name} is wildcarded here but needed elsewhere", member.position)
        return self._with_words(match)

    def _read(self, group: str, position: int, level: _Level) -> None:
        self._groups += 1
        if group == ANY and self.scanner.peek() != "(":
            self._any_position = position
        elif group == RAW:
            self._words += read_group(self.scanner, group, self.ports)
        elif group == ENCAPSULATED:
            self._read_encapsulated(position, level)
        elif group in GROUPS:
            self._read_fields(group, position, level)
        else:
            raise self.scanner.fail(f"expected a match group (docs/fields.md lists them), not {group!r}", position)

    def _read_fields(self, group: str, position: int, level: _Level) -> None:
        if group == VLAN_GROUPS[0]:
            self._check_depth(position, level)
            group = VLAN_GROUPS[level.depth]
            if level.eth_type and level.tag_position is None:
                level.tag_position = position
        members = read_group(self.scanner, group, self.ports)
        if not members or any(len(member.view.texts) > 1 for member in members):
            self._claims.append(_Claim(group, NEEDS[group], not members, position))
        for member in members:
            if member.view is not _ETH_TYPE:
                self._add(member)
            elif level.eth_type:
                raise self.scanner.fail(f"{member.view.name} is given twice", member.position)
            else:
                level.eth_type = member

    def _read_encapsulated(self, position: int, level: _Level) -> None:
        self._check_depth(position, level)
        if level.encapsulated:
            raise self.scanner.fail(f"{ENCAPSULATED} is given twice", position)
        level.encapsulated = True
        present = GROUPS[VLAN_GROUPS[level.depth]]["present"].name
        self._claims.append(_Claim(ENCAPSULATED, ((present, (1,)),), False, position))
        inside = _Level(level.depth + 1)
        for inner in self.scanner.parentheses():
            self._read(self.scanner.word("a match group"), inner, inside)
        self._close(inside)

    def _check_depth(self, position: int, level: _Level) -> None:
        if level.depth == len(VLAN_GROUPS):
            raise self.scanner.fail(f"the flow key holds no more than {len(VLAN_GROUPS)} VLAN tags", position)

    def _close(self, level: _Level) -> None:
        """All of a level is read: only now is it known of what its Ethernet type is the type."""
        member = level.eth_type
        if not member:
            return
        is_tag = member.mask == member.view.max and member.value in VLAN_PROTOCOLS
        if level.encapsulated:
            if not is_tag:
                allowed = " or ".join(member.view.format(value) for value in VLAN_PROTOCOLS)
                raise self.scanner.fail(f"{member.view.name} beside {ENCAPSULATED} must be {allowed}", member.position)
            tpid = GROUPS[VLAN_GROUPS[level.depth]]["tpid"]
            member = Member(tpid, member.value, member.mask, member.position)
        elif is_tag and level.tag_position is not None:
            # The nested form cut short. Read as the flat one, which has the tag first, it would match next to nothing.
            problem = f"{member.view.name} of a VLAN tag needs {ENCAPSULATED}(...) for what the tag carries"
            raise self.scanner.fail(problem, level.tag_position)
        self._add(member)

    def _add(self, member: Member) -> None:
        if member.view.name in self._fields:
            raise self.scanner.fail(f"{member.view.name} is given twice", member.position)
        self._fields[member.view.name] = member

    def _meet(self, claim: _Claim) -> None:
        for need, allowed in claim.needs:
            view = FIELDS[need]
            given = self._fields.get(need)
            options = " or ".join(view.format(value) for value in allowed)
            if given and not any((given.value ^ value) & given.mask == 0 for value in allowed):
                shown = view.format(given.value)
                raise self.scanner.fail(f"{claim.group} needs {need} to be {options}, not {shown}", claim.position)
            if given and (not given.mask or given.mask == view.max):
                continue
            if len(allowed) == 1:
                self._fields[need] = Member(view, allowed[0], view.max, claim.position)
            elif claim.alone:
                raise self.scanner.fail(f"{claim.group}() needs {need}: say whether {options}", claim.position)

    def _culprit(self, fields: dict[str, tuple[int, int]], problem: str) -> int:
        """Position of the first field with which the model finds this fault."""
        tried: dict[str, tuple[int, int]] = {}
        for name, pair in fields.items():
            tried[name] = pair
            try:
                Match(**tried)
            except ConfigError as error:
                if str(error) == problem:
                    return self._fields[name].position
        raise AssertionError("all fields together have the fault")

    def _with_words(self, match: Match) -> Match:
        for word in self._words:
            raw = Match.from_ints(word.view.place(word.value), word.view.place(word.mask))
            if not raw.overlaps(match):
                raise self.scanner.fail(f"{RAW} contradicts what lies in the same bits", word.position)
            match = Match.from_ints(raw.value | match.value, raw.mask | match.mask)
        return match
