"""What tests with a datapath share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.datapaths import remove_all
from tests.lab import Lab
from tests.rig import Rig


@pytest.fixture
def name(lab: Lab) -> Iterator[str]:
    """A name for a datapath; the same with letters behind it for more. Whatever is there at the end is removed."""
    yield lab.name
    remove_all(lab.name)


@pytest.fixture(scope="module")
def shared_rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.fixture
def rig(shared_rig: Rig) -> Rig:
    """Three hosts around a datapath that has no megaflows; its counters go on from test to test."""
    shared_rig.clear()
    return shared_rig
