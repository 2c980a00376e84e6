"""Applications of os-ken as the controllers of a switch between hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bridges import Served, serving
from tests.datapaths import remove_all, remove_remains
from tests.lab import Host, Lab, wait_until
from tests.osken import HAS_OSKEN, Application
from vswitch.bridge.bridge import Bridge

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(not HAS_OSKEN, reason="os-ken is not installed")]


@pytest.fixture
def name(lab: Lab) -> Iterator[str]:
    """A name for a bridge."""
    remove_remains()
    yield lab.name
    remove_all(lab.name)


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host]:
    return lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")


def version_of(served: Served) -> object:
    found = [each["version"] for each in served.call(lambda bridge: bridge.connections()) if "version" in each]
    return found[0] if found else None


@pytest.mark.parametrize("version", [1, 3, 4, 5, 6])
def test_a_learning_switch_of_each_version(name: str, hosts: tuple[Host, Host], version: int) -> None:
    one, two = hosts
    with (
        Application("tests.osken_learning", OPENFLOW_VERSION=str(version)) as application,
        Bridge.create(
            name, ports=[one.port, two.port], local=False, fail_mode="secure", controllers=[application.target]
        ) as bridge,
        serving(bridge) as served,
    ):
        wait_until(lambda: version_of(served) == version, "the application is connected", 20)
        wait_until(lambda: one.ping(two.ip, count=1).received, "the first ping", 20)
        assert one.ping(two.ip, count=10, interval_s=0.05).received == 10
        misses = served.call(lambda bridge: bridge.stats()["misses"])
        assert two.ping(one.ip, count=10, interval_s=0.05).received == 10
        assert served.call(lambda bridge: bridge.stats()["misses"]) - misses < 4, "flows forward, not the controller"
        url = two.serve_http(content="through os-ken")
        assert one.curl(url) == "through os-ken"
        flows = served.call(lambda bridge: bridge.dump_flows())
        assert sum(flow.packets for flow in flows) > 40
