"""Peers that tests of interoperation share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ofctl_peer import OpenVswitch


@pytest.fixture(scope="session")
def _openvswitch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenVswitch]:
    switch = OpenVswitch(tmp_path_factory.mktemp("ovs"))
    yield switch
    switch.close()


@pytest.fixture
def ovs(_openvswitch: OpenVswitch) -> OpenVswitch:
    """Debian's Open vSwitch, with a bridge that has no flows, groups, meters."""
    _openvswitch.reset()
    return _openvswitch
