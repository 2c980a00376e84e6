"""`vswitch run`: a whole OpenFlow switch in the foreground.

Invariant: Ctrl-C and SIGTERM end it in good order: what it has made is removed, unless it is to be kept.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from argparse import Namespace
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from vswitch.bridge.bridge import Bridge
from vswitch.bridge.collection import seldom
from vswitch.bridge.options import MANAGEMENT_FOLDER, BridgeOptions
from vswitch.bridge.pidfile import pid_file
from vswitch.bridge.vlans import parse_port
from vswitch.cli.arguments import UsageError
from vswitch.text.openflow_names import VERSIONS
from vswitch.transport.targets import Tls

__all__ = ["run"]

_VERSIONS = {name: number for number, name in VERSIONS.items()}


def run(arguments: Namespace) -> None:
    """Be the switch until a signal comes."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    ports = [parse_port(text) for text in arguments.ports]
    with ExitStack() as stack:
        options = _options(arguments, _control(arguments, stack))
        vlans = {name: vlan for name, _, vlan in ports if vlan is not None}
        options = replace(options, vlans=vlans)
        pairs = [(name, number) for name, number, _ in ports]
        if arguments.simulate:
            bridge = stack.enter_context(Bridge.simulate(pairs, name=arguments.bridge, options=options))
        else:
            bridge = stack.enter_context(
                Bridge.create(
                    arguments.bridge, ports=pairs, local=not arguments.no_local, keep=arguments.keep, options=options
                )
            )
        with seldom():
            asyncio.run(_serve(bridge))


async def _serve(bridge: Bridge) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, bridge.stop)

    def ready() -> None:
        print(f"{bridge.name}: OpenFlow switch {bridge.datapath_id:016x} is running; Ctrl-C ends it", flush=True)

    await bridge.serve(ready)


def _control(arguments: Namespace, stack: ExitStack) -> str:
    """Where the control socket is to be."""
    if arguments.control or arguments.simulate:
        return "" if arguments.control == "none" else str(arguments.control)
    return f"punix:{stack.enter_context(pid_file(Path(MANAGEMENT_FOLDER), arguments.bridge))}"


def _options(arguments: Namespace, control: str) -> BridgeOptions:
    management = {"": f"punix:{MANAGEMENT_FOLDER}/{arguments.bridge}.mgmt", "none": ""}
    if arguments.simulate:
        management[""] = ""  # it needs no privilege, so it takes no place of the machine's
    given = (arguments.private_key, arguments.certificate, arguments.ca_cert)
    if any(given) and not all(given):
        raise UsageError("--private-key, --certificate and --ca-cert are given all or none")
    return BridgeOptions(
        controllers=tuple(arguments.controllers),
        listen=tuple(arguments.listen),
        management=management.get(arguments.management, arguments.management),
        snoop=arguments.snoop,
        control=control,
        fail_mode=arguments.fail_mode,
        datapath_id=_datapath_id(arguments.datapath_id),
        versions=_versions(arguments.protocols),
        probe_s=arguments.probe,
        max_backoff_s=arguments.max_backoff,
        packet_in_rate_per_s=arguments.packet_in_rate,
        packet_in_burst=arguments.packet_in_burst,
        new_flow_rate_per_s=arguments.new_flow_rate,
        max_flows=arguments.max_flows,
        max_megaflows=arguments.max_megaflows,
        mac_age_s=arguments.mac_age,
        max_macs=arguments.max_macs,
        restore_s=arguments.restore,
        tls=Tls(*given) if all(given) else None,
    )


def _datapath_id(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text.removeprefix("0x"), 16)
    except ValueError:
        raise UsageError(f"--datapath-id {text!r} is no hexadecimal number") from None


def _versions(text: str) -> frozenset[int]:
    names = [name for name in text.replace(" ", ",").split(",") if name]
    unknown = [name for name in names if name not in _VERSIONS]
    if unknown:
        raise UsageError(f"--protocols: {unknown[0]!r} is none of {', '.join(_VERSIONS)}")
    return frozenset(_VERSIONS[name] for name in names) or frozenset(_VERSIONS.values())
