"""Actions as text: `set(ipv4(ttl=3)),push_vlan(vid=5,pcp=0),2`; no actions at all are `drop`.

    actions = ["actions:"] ("drop" | "" | action ("," action)*)
    action  = PORT | NAME | NAME "(" argument ("," argument)* ")"

A port is a number, or a name where names are given; a name that would be read as an action is not written.
One SetField is one member of a `set`; those that stand side by side and belong to one group share it.
`ip` is the group of what IPv4 and IPv6 have in common: `set(ipv4(ttl=3))` is read as the same action.
The probability of a sample is written with as many digits as bring back the very number.

Each action with arguments is a row of `_CALLS`; what the numbers may be, the action itself knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.fields import FIELDS, Field
from vswitch.model.actions import (
    VLAN_PROTOCOLS,
    Action,
    CheckPacketLength,
    Clone,
    DecTtl,
    Drop,
    Hash,
    Meter,
    Output,
    PopMpls,
    PopVlan,
    PushMpls,
    PushVlan,
    Recirculate,
    Sample,
    SetField,
    Truncate,
    Userspace,
    check_actions,
)
from vswitch.text.groups import GROUPS, NEEDS, format_group, read_group, texts
from vswitch.text.scan import Scanner
from vswitch.text.values import Names, Numbers, format_port, parse_port

__all__ = ["PREFIX", "format_actions", "parse_actions", "read_actions"]

Actions = tuple[Action, ...]
Reader = Callable[[Scanner, Numbers], Any]
"""Reads the value of one argument."""

PREFIX = re.compile(r"actions[:=]")
DROP = "drop"
FORGOTTEN = ""
"""Parameter of an argument that is read and means nothing here: Open vSwitch's Netlink socket of a userspace action."""
CERTAIN = 0xFFFFFFFF
"""Probability of a sample that is always taken."""

_WORDS: dict[str, Actions] = {"pop_vlan": (PopVlan(),), "dec_ttl": (DecTtl(),)}
_HEX_BYTES = re.compile(r"(?:[0-9a-fA-F]{2})*")
_PERCENT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,12})?%")


def parse_actions(text: str, ports: Numbers = None) -> tuple[Action, ...]:
    """The actions that `text` writes; outputs may be names of `ports`. TextError shows where it goes wrong."""
    scanner = Scanner(text)
    scanner.take_pattern(PREFIX)
    actions = read_actions(scanner, ports)
    scanner.end()
    return actions


def format_actions(actions: Iterable[Action], names: Names = None) -> str:
    """The text of `actions`; outputs by their names in `names` if they have one."""
    parts: list[str] = []
    sets: list[SetField] = []
    for action in actions:
        if isinstance(action, SetField):
            sets.append(action)
            continue
        parts += _format_sets(sets)
        sets.clear()
        parts.append(_format(action, names))
    return ",".join(parts + _format_sets(sets)) or DROP


def read_actions(scanner: Scanner, ports: Numbers) -> Actions:
    """All actions from here on."""
    start = scanner.here()
    if not scanner.peek():
        return ()
    actions = _read_list(scanner, ports, scanner.items())
    with scanner.blame(start):
        return check_actions(actions)


def _read_list(scanner: Scanner, ports: Numbers, positions: Iterable[int]) -> Actions:
    """The actions at `positions`, which the scanner yields as it comes to them."""
    actions: list[Action] = []
    drop: int | None = None
    count = 0
    for position in positions:
        count += 1
        word = scanner.atom("an action")
        called = scanner.peek() == "("
        if word == DROP and not called:
            drop = position
        else:
            with scanner.blame(position):
                actions += _read_call(scanner, ports, word, position) if called else _read_word(word, ports)
    if drop is not None and count > 1:
        raise scanner.fail(f"{DROP} stands alone; among other actions write {DROP}(reason=0)", drop)
    return tuple(actions)


def _read_word(word: str, ports: Numbers) -> Actions:
    if word in _WORDS:
        return _WORDS[word]
    if word in _CALLS:
        raise ConfigError(f"{word} needs arguments in parentheses")
    return (Output(parse_port(word, ports)),)


def _read_call(scanner: Scanner, ports: Numbers, word: str, position: int) -> Actions:
    if word not in _CALLS:
        raise scanner.fail(f"expected an action or a port, not {word!r} with arguments", position)
    return _CALLS[word](scanner, ports)


def _read_set(scanner: Scanner, ports: Numbers) -> Actions:
    return scanner.single(lambda: _read_set_group(scanner, ports), "one group of fields to set")


def _read_set_group(scanner: Scanner, ports: Numbers) -> Actions:
    position = scanner.here()
    group = scanner.word("a group of fields to set")
    if group not in GROUPS:
        raise scanner.fail(f"expected a group of fields (docs/fields.md lists them), not {group!r}", position)
    actions: list[Action] = []
    for member in read_group(scanner, group, ports):
        with scanner.blame(member.position):
            actions.append(SetField(member.view.name, member.value, member.mask))
    if not actions:
        raise scanner.fail(f"expected a field of {group} to set", position)
    return tuple(actions)


@dataclass(frozen=True, slots=True)
class _Arguments:
    """An action whose arguments have names: text name -> (parameter of `build`, how the value is read)."""

    build: Callable[..., Action]
    arguments: Mapping[str, tuple[str, Reader]]
    required: tuple[str, ...] = ()
    plain: str = ""
    """The argument whose name may be left out."""

    def __call__(self, scanner: Scanner, ports: Numbers) -> Actions:
        given: dict[str, Any] = {}
        start = scanner.here()
        for position in scanner.parentheses():
            if self.plain and not scanner.peek().isalpha():
                parameter, value = self.plain, scanner.number(f"a number ({self.plain})")
            else:
                name = scanner.word(f"an argument ({', '.join(self.arguments)})")
                if name not in self.arguments:
                    expected = ", ".join(self.arguments)
                    raise scanner.fail(f"expected an argument ({expected}), not {name!r}", position)
                parameter, read = self.arguments[name]
                value = read(scanner, ports)
            if parameter in given:
                raise scanner.fail(f"{self._name_of(parameter)} is given twice", position)
            given[parameter] = value
        given.pop(FORGOTTEN, None)
        for parameter in self.required:
            if parameter not in given:
                raise scanner.fail(f"{self._name_of(parameter)} is missing", start)
        return (self.build(**given),)

    def _name_of(self, parameter: str) -> str:
        return next(name for name, (own, _) in self.arguments.items() if own == parameter)


def _read_number(scanner: Scanner, _ports: Numbers) -> int:
    scanner.expect("=")
    return scanner.number("a number")


def _read_number_inside(scanner: Scanner, _ports: Numbers) -> int:
    return scanner.single(lambda: scanner.number("a number"), "a number")


def _read_nested(scanner: Scanner, ports: Numbers) -> Actions:
    return _read_list(scanner, ports, scanner.parentheses())


def _read_probability(scanner: Scanner, _ports: Numbers) -> int:
    scanner.expect("=")
    position = scanner.here()
    percent = scanner.take_pattern(_PERCENT)
    if not percent:
        return scanner.number("a probability, as 50.0% or 0x7fffffff")
    whole, _, part = percent.rstrip("%").partition(".")
    certain = 100 * 10 ** len(part)
    chance = int(whole + part)
    if chance > certain:
        raise scanner.fail(f"probability {percent} is more than 100%", position)
    return _scale(chance, certain, CERTAIN)


def _read_bytes(scanner: Scanner, _ports: Numbers) -> bytes:
    start = scanner.here()
    texts = [scanner.atom("bytes") for _ in scanner.parentheses()]
    if len(texts) > 1 or not _HEX_BYTES.fullmatch("".join(texts)):
        raise scanner.fail("expected bytes in hexadecimal, two digits each", start)
    return bytes.fromhex("".join(texts))


def _numbers(build: Callable[..., Action], required: str, **arguments: str) -> _Arguments:
    return _Arguments(build, {name: (own, _read_number) for name, own in arguments.items()}, tuple(required.split()))


def _one(build: Callable[..., Action], parameter: str) -> _Arguments:
    return _Arguments(build, {parameter: (parameter, _read_number)}, (parameter,), parameter)


_CALLS: dict[str, Callable[[Scanner, Numbers], Actions]] = {
    "set": _read_set,
    "clone": lambda scanner, ports: (Clone(_read_nested(scanner, ports)),),
    DROP: _one(Drop, "reason"),
    "recirc": _one(Recirculate, "id"),
    "trunc": _one(Truncate, "max_length"),
    "meter": _one(Meter, "id"),
    "push_vlan": _numbers(PushVlan, "vid", tpid="tpid", vid="vid", pcp="pcp"),
    "push_mpls": _numbers(PushMpls, "label", label="label", tc="tc", ttl="ttl", bos="bos", eth_type="ethertype"),
    "pop_mpls": _numbers(PopMpls, "ethertype", eth_type="ethertype"),
    "dec_ttl": _Arguments(DecTtl, {"le_1": ("exceeded", _read_nested)}, ("exceeded",)),
    "hash": _Arguments(
        Hash, {"hash_l4": ("seed", _read_number_inside), "l4": ("seed", _read_number_inside)}, ("seed",)
    ),
    "sample": _Arguments(
        Sample,
        {"sample": ("probability", _read_probability), "actions": ("actions", _read_nested)},
        ("probability", "actions"),
    ),
    "check_pkt_len": _Arguments(
        CheckPacketLength,
        {"size": ("length", _read_number), "gt": ("greater", _read_nested), "le": ("less_equal", _read_nested)},
        ("length", "greater", "less_equal"),
    ),
    "userspace": _Arguments(Userspace, {"pid": (FORGOTTEN, _read_number), "userdata": ("userdata", _read_bytes)}),
}
_RESERVED = frozenset({DROP, *_WORDS, *_CALLS})
"""Names of ports that would be read as something else."""


_FORMS: dict[type[Action], str] = {
    Drop: DROP + "(reason={0.reason})",
    PopVlan: "pop_vlan",
    PushMpls: "push_mpls(label={0.label},tc={0.tc},ttl={0.ttl},bos={0.bos},eth_type={0.ethertype:#x})",
    PopMpls: "pop_mpls(eth_type={0.ethertype:#x})",
    Recirculate: "recirc({0.id:#x})",
    Hash: "hash(hash_l4({0.seed}))",
    Truncate: "trunc({0.max_length})",
    Meter: "meter({0.id})",
}


def _format(action: Action, names: Names) -> str:
    match action:
        case Output(port):
            return format_port(port, names, _RESERVED)
        case PushVlan(vid, pcp, tpid):
            return f"push_vlan({f'tpid={tpid:#06x},' if tpid != VLAN_PROTOCOLS[0] else ''}vid={vid},pcp={pcp})"
        case Userspace(userdata):
            return f"userspace(pid=0,userdata({userdata.hex()}))" if userdata else "userspace(pid=0)"
        case DecTtl(exceeded):
            return f"dec_ttl(le_1({format_actions(exceeded, names)}))" if exceeded else "dec_ttl"
        case Clone(actions):
            return f"clone({format_actions(actions, names)})"
        case Sample(probability, actions):
            return f"sample(sample={_percent(probability)},actions({format_actions(actions, names)}))"
        case CheckPacketLength(length, greater, less_equal):
            greater_text, less_text = format_actions(greater, names), format_actions(less_equal, names)
            return f"check_pkt_len(size={length},gt({greater_text}),le({less_text}))"
        case _:
            return _FORMS[type(action)].format(action)


def _percent(probability: int) -> str:
    """With the fewest digits, one at least, that bring back the very number; eight always do (10^10 > 2^32)."""
    for digits in range(1, 9):
        certain = 100 * 10**digits
        chance = _scale(probability, CERTAIN, certain)
        if _scale(chance, certain, CERTAIN) == probability:
            break
    return f"{chance // 10**digits}.{chance % 10**digits:0{digits}}%"


def _scale(part: int, whole: int, new_whole: int) -> int:
    """`part` of `whole` as a part of `new_whole`, rounded to the nearest, a half up."""
    return (2 * part * new_whole + whole) // (2 * whole)


def _format_sets(sets: Iterable[SetField]) -> list[str]:
    """One text for each run that some group can hold."""
    written: list[str] = []
    run: list[SetField] = []
    groups: dict[str, None] = {}
    for action in sets:
        own = _groups_of(action)
        common = {group: None for group in groups if group in own}
        if run and common and action.name not in (other.name for other in run):
            groups = common
        else:
            written += _format_run(run, groups)
            run, groups = [], own
        run.append(action)
    return written + _format_run(run, groups)


def _groups_of(action: SetField) -> dict[str, None]:
    """The groups that hold the field, the one that says least about the packet first."""
    groups = [group for group, _ in texts(FIELDS[action.name])]
    return dict.fromkeys(sorted(groups, key=lambda group: all(len(allowed) == 1 for _, allowed in NEEDS[group])))


def _format_run(run: list[SetField], groups: Mapping[str, None]) -> list[str]:
    if not run:
        return []
    group = next(iter(groups))
    views: dict[str, tuple[str, Field]] = {view.name: (member, view) for member, view in GROUPS[group].items()}
    return [f"set({format_group(group, [(*views[action.name], action.value, action.mask) for action in run])})"]
