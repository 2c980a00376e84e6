"""Levels of the log by module and destination, its file, and its bound in time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from vswitch.base.errors import ConfigError
from vswitch.base.places import Places
from vswitch.control.commands import CommandError, Commands
from vswitch.control.vlog import MODULES, Levels
from vswitch.daemon.logs import BURST, Logs


@pytest.mark.parametrize(
    ("specification", "module", "destination", "passes"),
    [
        ("bridge:file:dbg", "bridge", "file", 10),
        ("dbg file bridge", "bridge", "file", 10),
        ("FILE:Bridge", "bridge", "file", 10),
        ("off", "ovsdb", "syslog", 60),
        ("any:console:err", "other", "console", 40),
        ("file:emer", "bridge", "console", 20),  # of another destination
        ("bridge:emer", "ovsdb", "file", 20),  # of another module
    ],
)
def test_a_specification_sets_levels_of_what_it_names(
    specification: str, module: str, destination: str, passes: int
) -> None:
    levels = Levels()
    levels.set([specification])
    assert levels.passes(module, destination, passes)
    assert not levels.passes(module, destination, passes - 1)


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [("any:blah", 'no destination, level, or module "blah"'), ("PATTERN:file:%m", "PATTERN is not supported")],
)
def test_of_several_specifications_with_a_wrong_one_none_is_taken(wrong: str, refusal: str) -> None:
    levels = Levels()
    before = levels.as_dict()
    with pytest.raises(ConfigError, match=refusal):
        levels.set(["file:dbg", wrong])
    assert levels.as_dict() == before


def test_levels_are_listed_in_the_columns_of_vlog_list() -> None:
    levels = Levels()
    levels.set(["bridge:console:warn"])
    lines = levels.text().splitlines()
    assert lines[0] == "                 console    syslog    file"
    assert "bridge            WARN       INFO       INFO" in lines
    assert len(lines) == 2 + len(MODULES)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[tuple[Logs, Commands, Path]]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    path = tmp_path / "log" / "vswitchd.log"
    found = Logs()
    found.install(file=str(path), syslog=None, specifications=("console:off", "file:info"))
    commands = Commands("vswitch")
    found.add_to(commands)
    yield found, commands, path
    commands.call("vlog/close", ())
    root.handlers[:] = before
    root.setLevel(level)


def test_a_file_that_was_moved_away_is_made_anew_by_vlog_reopen(logs: tuple[Logs, Commands, Path]) -> None:
    _, commands, path = logs
    logging.getLogger("vswitch").info("before")
    moved = path.rename(path.with_suffix(".1"))
    commands.call("vlog/reopen", ())
    logging.getLogger("vswitch").info("after")
    assert moved.read_text().endswith("|other|INFO|before\n")
    assert path.read_text().endswith("|00002|other|INFO|after\n")
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_vlog_set_says_holds_from_then_on(logs: tuple[Logs, Commands, Path]) -> None:
    _, commands, path = logs
    logging.getLogger("vswitch").debug("one")
    commands.call("vlog/set", ("file:dbg",))
    logging.getLogger("vswitch").debug("two")
    commands.call("vlog/set", ("file:off",))
    logging.getLogger("vswitch").error("three")
    assert [line.split("|")[-1] for line in path.read_text().splitlines()] == ["two"]


def test_more_messages_of_one_place_than_the_bound_are_counted_and_not_said(
    logs: tuple[Logs, Commands, Path],
) -> None:
    found, commands, path = logs
    for number in range(BURST + 100):
        logging.getLogger("vswitch").warning("flood %d", number)
    said = len(path.read_text().splitlines())
    assert BURST <= said < BURST + 100
    assert found.suppressed == BURST + 100 - said
    commands.call("vlog/disable-rate-limit", ())
    for number in range(BURST + 100):
        logging.getLogger("vswitch").warning("flood %d", number)
    assert len(path.read_text().splitlines()) == said + BURST + 100


def test_without_a_file_there_is_nothing_to_reopen() -> None:
    commands = Commands("vswitch")
    Logs().add_to(commands)
    with pytest.raises(CommandError, match="Logging to file not configured"):
        commands.call("vlog/reopen", ())
    with pytest.raises(ConfigError, match="unknown module"):
        commands.call("vlog/disable-rate-limit", ("nowhere",))


def test_places_are_where_the_environment_says_or_vswitchs_own() -> None:
    assert Places.of({"OVS_RUNDIR": ""}) == Places()
    there = Places.of({"OVS_RUNDIR": "/r", "OVS_DBDIR": "/d", "OVS_LOGDIR": "/l"})
    assert (there.database, there.socket, there.pid_file) == ("/d/conf.db", "/r/db.sock", "/r/vswitchd.pid")
    assert (there.log, there.management("br0")) == ("/l/vswitchd.log", "/r/br0.mgmt")
