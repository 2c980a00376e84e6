"""Packets that the kernel forwards without asking: TCP, round trips, small UDP packets, the lookup alone."""

from __future__ import annotations

import re
import socket
import statistics
import struct
from collections.abc import Callable, Iterator
from functools import partial

from bench.frames import frames
from bench.measure import SUBJECT, Figure, Plan, compare, interleave
from bench.rules import Flow, spread
from bench.switches import Bridge, OpenVswitch, OpenVswitchModule, Redirect, Vswitch
from bench.testbed import Bed, Pair, Switch
from tests.lab import LabError
from vswitch.datapath.ebpf.bpf_syscall import prog_test_run

__all__ = ["lookup", "ping", "streams", "tcp", "udp"]

MASKS = 32
FLOWS = 1000
PINGS = 1000
IPERF3_PORT = 5201
HANDING = f"{SUBJECT}, peer_redirect"
TEST_RUNS = 200_000


_handing = partial(Vswitch, peer_redirect=True, label=HANDING)


def _peers(plan: Plan) -> list[Callable[[], Switch]]:
    """Everything that vswitch is measured against."""
    open_vswitch = OpenVswitchModule if plan.open_vswitch == "system" else OpenVswitch
    return [Redirect, Bridge, open_vswitch]


def tcp(plan: Plan) -> Iterator[Figure]:
    """iperf3 from host to host, one stream and four, then with 32 masks."""
    with Bed() as bed:
        pairs = bed.pairs(Vswitch, _handing, *_peers(plan))
        if plan.open_vswitch == "netdev":
            segmenting = bed.pair(partial(OpenVswitch, segmentation=True), apart=True)
            pairs[segmenting.label] = segmenting
        for pair in pairs.values():
            pair.b.iperf3_server()
        yield from _streams("TCP, 1 stream", plan, pairs, 1)
        yield from _streams("TCP, 4 streams", plan, pairs, 4)
        for pair in pairs.values():
            its_own = Flow({"ipv4_dst": pair.b.ip, "tcp_dst": IPERF3_PORT}, "tcp")
            pair.install([*spread(FLOWS, MASKS - 2, pair.a.mac), its_own])  # one mask is that of the way back
        yield from _streams(f"TCP, 1 stream, {MASKS} masks", plan, pairs, 1)


def _streams(case: str, plan: Plan, pairs: dict[str, Pair], count: int) -> Iterator[Figure]:
    yield from _both(case, "Gbit/s", interleave(case, plan.rounds, streams(plan, pairs, count)))


def streams(plan: Plan, pairs: dict[str, Pair], count: int) -> dict[str, Callable[[], float]]:
    """For each pair, what measures so many streams of TCP from one host to the other: Gbit/s."""
    seconds = max(1, round(plan.seconds))
    return {name: partial(pair.a.iperf3, pair.b.ip, seconds, count) for name, pair in pairs.items()}


def _both(case: str, unit: str, samples: dict[str, list[float]]) -> Iterator[Figure]:
    """vswitch beside its peers, then the same with peer_redirect."""
    handed = samples.pop(HANDING)
    yield from compare(case, unit, samples)
    del samples[SUBJECT]
    yield from compare(f"{case}, peer_redirect", unit, samples | {SUBJECT: handed})


def ping(plan: Plan) -> Iterator[Figure]:
    """Round trips of ping, one after another without a pause."""
    with Bed() as bed:
        pairs = bed.pairs(Vswitch, *_peers(plan))
        runs = {name: partial(_round_trip, pair) for name, pair in pairs.items()}
        yield from compare("ping", "us", interleave("ping", plan.rounds, runs))


def _round_trip(pair: Pair) -> float:
    """The mean of the middle half: robust as a median, but finer than ping's microseconds."""
    command = ["ping", "-n", "-A", "-c", str(PINGS), "-W", "2", pair.b.ip]
    output = pair.a.run(command, timeout_s=60).stdout
    times = sorted(float(time) for time in re.findall(r"time=([\d.]+) ms", output))
    if len(times) < PINGS // 2:
        raise LabError(f"{pair.label}: {len(times)} of {PINGS} pings came back")
    return 1000 * statistics.fmean(times[len(times) // 4 : -len(times) // 4])


def udp(plan: Plan) -> Iterator[Figure]:
    """60-byte UDP, sender, switch and receiver on one CPU: with one megaflow, then with many under many masks."""
    with Bed() as bed:
        pairs = bed.pairs(Vswitch, _handing, *_peers(plan))
        alone = bed.no_switch()
        pairs[alone.label] = alone
        yield from _small_packets("UDP, 60 bytes, 1 megaflow", plan, pairs, 1)
        for pair in pairs.values():
            pair.install(spread(FLOWS, MASKS - 1, pair.a.mac))  # one mask is that of the way back
        yield from _small_packets(f"UDP, 60 bytes, {MASKS} masks, {FLOWS:,} flows", plan, pairs, FLOWS)


def _small_packets(case: str, plan: Plan, pairs: dict[str, Pair], flows: int) -> Iterator[Figure]:
    runs = {
        name: partial(pair.packets_per_second, seconds=plan.seconds, flows=flows) for name, pair in pairs.items()
    }  # fmt: skip
    yield from _both(case, "packets/s", interleave(case, plan.rounds, runs))


def lookup(plan: Plan) -> Iterator[Figure]:
    """The program alone, without devices (BPF_PROG_TEST_RUN): packets that the cache knows, and packets that have to be
    looked for under every mask, which are those that no megaflow takes."""
    one, many = f"{SUBJECT}, 1 mask", f"{SUBJECT}, {MASKS} masks"
    with Bed() as bed:
        bare = bed.pair(Redirect)
        pairs = bed.pairs(*(partial(Vswitch, label=label) for label in (one, many)))
        pairs[many].install(spread(FLOWS, MASKS - 1, pairs[many].a.mac))
        hits = {label: partial(_test_run, pair, 0) for label, pair in {**pairs, bare.label: bare}.items()}
        samples = interleave("lookup, cached", plan.rounds, hits)
        yield from compare("lookup, cached, 1 mask", "ns", {name: samples[name] for name in (one, bare.label)}, one)
        yield from compare(f"lookup, cached, {MASKS} masks", "ns", samples, many)

        pairs[one].install([])
        misses = {label: partial(_test_run, pair, FLOWS) for label, pair in pairs.items()}
        yield from compare(f"miss, {MASKS} masks", "ns", interleave("miss", plan.rounds, misses), many)


def _test_run(pair: Pair, flow: int) -> float:
    """Nanoseconds that the program at port 1 takes for a packet of this flow."""
    if isinstance(pair.switch, Vswitch):
        program = pair.switch.datapath._kernel.state.programs["vs_port"]
    else:
        assert isinstance(pair.switch, Redirect)
        program = pair.switch.program_fd
    addresses = (bytes.fromhex(host.mac.replace(":", "")) for host in (pair.a, pair.b))
    packet = next(frames(flow, 1, *addresses))
    context = bytearray(192)  # struct __sk_buff
    struct.pack_into("=I", context, 40, socket.if_nametoindex(pair.a.port))
    return prog_test_run(program, packet, bytes(context), repeat=TEST_RUNS).duration_ns
