"""What all tests share: which need the kernel, how long they may take, and the laboratory."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import settings

from tests.examples import TIMES
from tests.lab import Lab, patience

HERE = Path(__file__).parent

FOLDER_MARKERS = {"bpf": "kernel", "e2e": "kernel"}

KERNEL_TEST_LIMIT_S = 120
"""No test that uses the kernel needs longer; one that hangs fails instead of stopping the run."""

SLOW_TEST_LIMIT_S = 1800

# The speed of the machine is not what property tests test.
settings.register_profile("vswitch", settings(deadline=None, print_blob=True), max_examples=40 * TIMES)
settings.load_profile("vswitch")


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so would the programs that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by the folder that they are in."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in FOLDER_MARKERS:
            item.add_marker(FOLDER_MARKERS[folder])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuses, rather than skips, a kernel test without root."""
    if item.get_closest_marker("kernel") and os.geteuid():
        pytest.fail("this test needs root; `make test` sees to it", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A kernel test that skips fails: nobody would notice that it no longer runs."""
    report = yield
    if report.skipped and item.get_closest_marker("kernel") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"a kernel test must not be skipped ({reason})"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Bounds the time of each kernel test, its fixtures included."""
    if not item.get_closest_marker("kernel"):
        return (yield)
    limit_s = (SLOW_TEST_LIMIT_S if item.get_closest_marker("slow") else KERNEL_TEST_LIMIT_S) * patience()

    def too_long(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took longer than {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A laboratory; the test itself runs in the namespace of the switch."""
    with Lab() as lab:
        yield lab
