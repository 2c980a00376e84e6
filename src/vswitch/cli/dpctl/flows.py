"""add-flow, add-flows, mod-flow, del-flow, del-flows, get-flow, dump-flows: megaflows as text."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from vswitch import (
    ConfigError,
    Datapath,
    ExistsError,
    LimitError,
    Match,
    Megaflow,
    NotFoundError,
    OverlapError,
    Rule,
    format_match,
    format_megaflow,
    megaflow_to_json,
    parse_match,
    parse_rule,
)
from vswitch.base.limits import MAX_TEXT_CHARACTERS
from vswitch.cli.arguments import UsageError
from vswitch.cli.dpctl.common import controlling, names_for, print_json, read_flow, reading
from vswitch.cli.progress import watched

__all__ = ["add_flow", "add_flows", "del_flow", "del_flows", "dump_flows", "get_flow", "mod_flow"]

_TYPES = ("ovs", "non-offloaded", "all")
"""Of those that ovs-dpctl knows, the ones that mean all megaflows here; none is in a network card."""


def add_flow(arguments: Namespace) -> None:
    """One that is not there yet."""
    with controlling(arguments.dp) as datapath:
        rule = parse_rule(arguments.flow, arguments.actions, datapath.ports.numbers())
        with _blame(datapath, {"": rule}):
            _add(datapath, [rule])
    _warn_of_timeouts([rule])


def mod_flow(arguments: Namespace) -> None:
    """One that is there, or with --may-create may be."""
    with controlling(arguments.dp) as datapath:
        rule = parse_rule(arguments.flow, arguments.actions, datapath.ports.numbers())
        before: Megaflow | None = None
        try:
            before = _get(datapath, rule)
        except NotFoundError:
            if not arguments.may_create:
                raise
        if before is None:
            with _blame(datapath, {"": rule}):
                _add(datapath, [rule])
        elif arguments.clear:
            with datapath.transaction() as transaction:
                transaction.delete(rule)
                transaction.add(rule)
        else:
            datapath.flows.modify(rule)
        if arguments.statistics:
            _print_statistics(before or datapath.flows.get(rule), arguments.json)
    _warn_of_timeouts([rule])


def del_flow(arguments: Namespace) -> None:
    """The one with exactly this match and priority."""
    with controlling(arguments.dp) as datapath:
        rule = read_flow(arguments.flow, datapath.ports.numbers())
        _get(datapath, rule)
        removed = datapath.flows.delete(rule)
    if arguments.statistics:
        _print_statistics(removed, arguments.json)


def del_flows(arguments: Namespace) -> None:
    """All of them."""
    with controlling(arguments.dp) as datapath:
        datapath.flows.flush()


def get_flow(arguments: Namespace) -> None:
    """The one with exactly this match and priority."""
    with reading(arguments.dp) as datapath:
        flow = _get(datapath, read_flow(arguments.flow, datapath.ports.numbers()))
        names = names_for(datapath, arguments)
    if arguments.json:
        print_json(megaflow_to_json(flow, names))
    else:
        print(format_megaflow(flow, names, arguments.more))


def dump_flows(arguments: Namespace) -> None:
    """One a line, each as add-flows reads it; they are printed as they are read, so there may be millions."""
    words = [word for word in (arguments.dp, *arguments.filters) if word is not None]
    name = words.pop(0) if words and not words[0].startswith(("filter=", "type=")) else None
    with reading(name) as datapath:
        within = _read_filters(words, datapath.ports.numbers())
        names = names_for(datapath, arguments)
        flows = datapath.flows.dump(within)
        if arguments.json:
            _print_json_array(json.dumps(megaflow_to_json(flow, names)) for flow in flows)
        else:
            for flow in flows:
                print(format_megaflow(flow, names, arguments.more))


def _read_filters(words: Iterable[str], ports: dict[str, int]) -> Match | None:
    within: Match | None = None
    for word in words:
        key, equals, text = word.partition("=")
        if key == "filter" and equals and within is None:
            within = parse_match(text, ports)
        elif key == "type" and equals:
            other = [each for each in text.split(",") if each not in _TYPES]
            if other:
                raise ConfigError(f"type {other[0]!r}: all megaflows are in the eBPF datapath, none is offloaded")
        else:
            raise UsageError(f"{word!r} is not a single filter=MATCH, or type=ovs")
    return within


def _add(datapath: Datapath, rules: Iterable[Rule]) -> None:
    """Install all of them or none, and say which of them no packet reaches."""
    with datapath.transaction() as transaction:
        for rule in rules:
            transaction.add(rule)
    for rule, hiding in transaction.unreachable:
        by = _named(hiding)
        print(f"vswitch: no packet reaches {_named(rule)}, as {by} takes all of its packets", file=sys.stderr)


def _get(datapath: Datapath, rule: Rule) -> Megaflow:
    try:
        return datapath.flows.get(rule)
    except NotFoundError as error:
        raise NotFoundError(f"no megaflow {_named(rule)}") from error


def _named(rule: Rule) -> str:
    """A rule as a command takes it."""
    return f"priority({rule.priority}),{format_match(rule.match)}"


@contextlib.contextmanager
def _blame(datapath: Datapath, rules: dict[str, Rule]) -> Iterator[None]:
    """Say which of the rules the datapath refuses, by what is said before it (such as its line) and as the user has
    written it, where one is to blame."""
    try:
        yield
    except OverlapError as error:
        for where, rule in rules.items():
            if rule.match == error.new and isinstance(error.old, Match):
                old = _named(Rule(error.old, (), rule.priority))
                raise ConfigError(f"{where}megaflow {_named(rule)} overlaps {old}") from error
        raise
    except ExistsError as error:
        for where, rule in rules.items():
            with contextlib.suppress(NotFoundError):
                datapath.flows.get(rule)
                raise ExistsError(f"{where}megaflow {_named(rule)} exists already") from error
        raise


def _warn_of_timeouts(rules: Iterable[Rule]) -> None:
    if any(rule.idle_timeout_s or rule.hard_timeout_s for rule in rules):
        print("vswitch: timeouts pass only while some process controls the datapath", file=sys.stderr)


def _print_statistics(flow: Megaflow, as_json: bool) -> None:
    """What a dump says of the flow between its match and its actions."""
    stats = flow.stats
    if as_json:
        print_json({"packets": stats.packets, "bytes": stats.bytes, "used_s": stats.used_s})
        return
    used = "never" if stats.used_s is None else f"{stats.used_s:.3f}s"
    print(f"packets:{stats.packets}, bytes:{stats.bytes}, used:{used}")


def _print_json_array(items: Iterable[str]) -> None:
    """One item a line."""
    print("[", end="")
    before = "\n"
    for item in items:
        print(f"{before}{item}", end="")
        before = ",\n"
    print("\n]" if before != "\n" else "]")


# ---- many at once


def add_flows(arguments: Namespace) -> None:
    """All of them or, if one is wrong or refused, none."""
    with _open(arguments.file) as stream, controlling(arguments.dp) as datapath:
        called = "standard input" if arguments.file == "-" else arguments.file
        rules = _read_rules(stream, called, datapath.ports.numbers())
        with _blame(datapath, {f"{called}:{line}: ": rule for line, rule in rules.items()}):
            _add(datapath, rules.values())
    _warn_of_timeouts(rules.values())


def _open(file: str) -> TextIO:
    if file == "-":
        if sys.stdin is None:
            raise ConfigError("the standard input is closed")
        return open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False)
    return Path(file).open(encoding="utf-8", errors="replace")


def _read_rules(stream: TextIO, called: str, ports: dict[str, int]) -> dict[int, Rule]:
    """The rules by the number of their line."""
    rules: dict[int, Rule] = {}
    seen: dict[tuple[Match, int], int] = {}
    for number, line in watched(_lines(stream), "lines read"):
        try:
            text = _without_comment(line)
            if not text:
                continue
            rule = rules[number] = parse_rule(text, ports=ports)
        except ConfigError as error:
            raise ConfigError(f"{called}:{number}: {error}") from error
        first = seen.setdefault((rule.match, rule.priority), number)
        if first != number:
            raise ExistsError(f"{called}:{number}: line {first} has the same match and priority")
    return rules


def _lines(stream: TextIO) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1 on; of one that is too long only the beginning."""
    number = 0
    while line := stream.readline(MAX_TEXT_CHARACTERS + 2):
        number += 1
        yield number, line


def _without_comment(line: str) -> str:
    if len(line.rstrip("\n")) > MAX_TEXT_CHARACTERS:
        raise LimitError(f"the line exceeds the bound of {MAX_TEXT_CHARACTERS} characters")
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
