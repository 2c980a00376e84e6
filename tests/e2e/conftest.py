"""What tests with a datapath share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.datapaths import remove_all
from tests.lab import Lab


@pytest.fixture
def name(lab: Lab) -> Iterator[str]:
    """A name for a datapath; the same with letters behind it for more. Whatever is there at the end is removed."""
    yield lab.name
    remove_all(lab.name)
