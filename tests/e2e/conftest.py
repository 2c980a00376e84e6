"""What tests with a datapath share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.datapaths import MECHANISMS, connect, remove_all, remove_remains
from tests.lab import Host, Lab
from tests.rig import Rig
from vswitch import Datapath
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.datapath.ebpf.state import Options


@pytest.fixture
def name(lab: Lab) -> Iterator[str]:
    """A name for a datapath; the same with letters behind it for more. Whatever is there at the end is removed."""
    remove_remains()
    yield lab.name
    remove_all(lab.name)


@pytest.fixture(params=MECHANISMS)
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How programs hang at devices; "clsact" also where the kernel could do better."""
    if request.param == "clsact":
        monkeypatch.setattr(bpf_syscall, "has_tcx", lambda: False)
    return str(request.param)


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host, Host]:
    """Three hosts that know each other's MAC addresses."""
    one, two, three = (lab.host(f"h{n}", ip=f"10.0.0.{n}/24") for n in (1, 2, 3))
    lab.introduce()
    return one, two, three


@pytest.fixture
def dp(name: str, hosts: tuple[Host, Host, Host]) -> Iterator[Datapath]:
    """Hosts 1 and 2 reach each other by ports 1 and 2; host 3 is not on the switch."""
    with Datapath.create(name, ports=[host.port for host in hosts[:2]], local=False) as datapath:
        connect(datapath, 1, 2)
        yield datapath


@pytest.fixture
def pair(lab: Lab) -> tuple[Host, Host]:
    """Two hosts that do not know each other yet."""
    return lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")


@pytest.fixture
def spacious(name: str, pair: tuple[Host, Host]) -> Iterator[Datapath]:
    """The pair at ports 1 and 2, without megaflows, and with room for what comes up on a busy machine."""
    options = Options(ring_bytes=16 << 20, port_quota_bytes=8 << 20)
    with Datapath.create(name, ports=[host.port for host in pair], local=False, options=options) as datapath:
        yield datapath


@pytest.fixture(scope="module")
def shared_rig() -> Iterator[Rig]:
    """For the tests of actions: three hosts around one datapath, whose counters go on from test to test."""
    with Rig() as rig:
        yield rig


@pytest.fixture
def rig(shared_rig: Rig) -> Rig:
    """The same, without megaflows."""
    shared_rig.clear()
    return shared_rig
