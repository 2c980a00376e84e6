"""The tools under Open vSwitch's names: written, run, removed; never where there are others."""

from __future__ import annotations

import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

from vswitch.base.errors import ConfigError
from vswitch.cli import compat


@pytest.fixture(autouse=True)
def no_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This machine may have Open vSwitch."""
    monkeypatch.setattr(compat, "_PLACES", (str(tmp_path / "usr"),))


def test_tools_are_written_run_and_removed(tmp_path: Path) -> None:
    compat.install(Namespace(prefix=str(tmp_path), uninstall=False))
    compat.install(Namespace(prefix=str(tmp_path), uninstall=False))  # once more
    other = tmp_path / "bin" / "other"
    other.write_text("")
    done = subprocess.run(
        [tmp_path / "bin" / "ovs-ofctl", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("usage: vswitch ofctl")
    compat.install(Namespace(prefix=str(tmp_path), uninstall=True))
    assert list((tmp_path / "bin").iterdir()) == [other]


@pytest.mark.parametrize("place", ["bin", "usr"])
def test_nothing_is_written_where_there_are_others(tmp_path: Path, place: str) -> None:
    theirs = tmp_path / place / "ovsdb-tool"
    theirs.parent.mkdir()
    theirs.write_text("theirs")
    with pytest.raises(ConfigError, match=r"ovsdb-tool is not vswitch's"):
        compat.install(Namespace(prefix=str(tmp_path), uninstall=False))
    compat.install(Namespace(prefix=str(tmp_path), uninstall=True))
    assert theirs.read_text() == "theirs"
    assert not (tmp_path / "bin" / "ovs-ofctl").exists()
