"""usernat: RFC 4787 behaviour, packet in and packet out."""

from __future__ import annotations

import itertools
import random
import struct
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.netns.engine.mappings import PERMISSIONS_MAX, TCP_LIFETIME, TCP_TRANSITORY_LIFETIME
from tests.netns.engine.packets import ICMP, UDP, Endpoint, checksum
from tests.netns.engine.settings import NatSettings
from tests.netns.engine.usernat import UserNat
from tests.unit.lab.datagrams import Address, Seen, echo, ipv4, read, tcp, time_exceeded, udp, udp_datagram
from visavis_shared.nat import Allocation, Filtering, Mapping

EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering
HOST: Final = ("192.168.1.1", 5000)
NEIGHBOUR: Final = ("192.168.1.2", 5000)
EXTERNAL: Final = "11.1.0.1"
SERVER: Final = ("11.0.0.1", 3478)
SAME_ADDRESS: Final = ("11.0.0.1", 3479)
OTHER_ADDRESS: Final = ("11.0.0.2", 3478)


class World:
    """A NAT and the two sides of it."""

    def __init__(self, mapping: Mapping = EIM, filtering: Filtering = APDF, **settings: Any) -> None:
        self.now = 100.0
        pool = [f"11.1.0.{number}" for number in range(1, settings.get("pool_size", 1) + 1)]
        chosen = NatSettings(mapping, filtering, **settings)
        self.nat = UserNat(chosen, "192.168.1.0/24", pool, random.Random(1))

    def out(self, source: Address = HOST, destination: Address = SERVER) -> Address:
        """Send out and return the external endpoint."""
        return read(self.send(source, destination)).source

    def send(self, source: Address, destination: Address) -> bytes | None:
        return self.nat.receive_packet(udp(source, destination), self.now)

    def lets_in(self, source: Address, external: Address, receiver: Address = HOST) -> bool:
        """Send in; whether it reached its receiver."""
        packet = self.send(source, external)
        if packet is None:
            return False
        assert (read(packet).source, read(packet).destination) == (source, receiver)
        return True


@pytest.mark.parametrize(
    ("mapping", "same"),
    [(EIM, (True, True)), (ADM, (True, False)), (APDM, (False, False))],
)
def test_the_mapping_is_reused_for_what_it_does_not_distinguish(mapping: Mapping, same: tuple[bool, bool]) -> None:
    world = World(mapping, allocation=Allocation.RANDOM)
    first = world.out()
    assert world.out() == first
    assert (world.out(destination=SAME_ADDRESS) == first, world.out(destination=OTHER_ADDRESS) == first) == same


@pytest.mark.parametrize(
    ("filtering", "admitted"),
    [(EIF, (True, True, True)), (ADF, (True, True, False)), (APDF, (True, False, False))],
)
@pytest.mark.parametrize("mapping", Mapping)
def test_the_filter_lets_in_whom_the_host_has_sent_to(
    mapping: Mapping, filtering: Filtering, admitted: tuple[bool, ...]
) -> None:
    world = World(mapping, filtering)
    external = world.out()
    assert tuple(world.lets_in(who, external) for who in (SERVER, SAME_ADDRESS, OTHER_ADDRESS)) == admitted


def test_a_permission_of_one_mapping_is_none_of_another() -> None:
    world = World(APDM, ADF)
    first, second = world.out(), world.out(destination=OTHER_ADDRESS)
    assert not world.lets_in(OTHER_ADDRESS, first)
    assert world.lets_in(OTHER_ADDRESS, second)


def test_without_a_mapping_nothing_gets_in() -> None:
    world = World(EIM, EIF)
    assert not world.lets_in(SERVER, (EXTERNAL, 5000))
    assert world.nat.counts.filtered == 1


def test_preserving_keeps_the_port_unless_another_host_has_it() -> None:
    world = World()
    assert world.out() == (EXTERNAL, 5000)
    assert world.out(NEIGHBOUR)[1] != 5000


@pytest.mark.parametrize("step", [1, 2, -1, 256])
def test_sequential_allocation_steps(step: int) -> None:
    world = World(APDM, allocation=Allocation.SEQUENTIAL, step=step, ports=(1024, 65535))
    ports = [world.out(destination=("11.0.0.1", port))[1] for port in range(1, 9)]
    size = 65535 - 1024 + 1
    assert {(later - earlier) % size for earlier, later in itertools.pairwise(ports)} == {step % size}


def test_sequential_allocation_wraps_around_and_skips_what_is_taken() -> None:
    world = World(APDM, allocation=Allocation.SEQUENTIAL, ports=(2000, 2003))
    ports = [world.out(destination=("11.0.0.1", port))[1] for port in range(1, 5)]
    assert sorted(ports) == [2000, 2001, 2002, 2003]
    assert world.send(HOST, ("11.0.0.1", 5)) is None
    assert world.nat.counts.exhausted == 1


def test_others_behind_a_busy_nat_make_allocations_in_between() -> None:
    world = World(APDM, allocation=Allocation.SEQUENTIAL, foreign_max=3)
    ports = [world.out(destination=("11.0.0.1", port))[1] for port in range(1, 40)]
    steps = {(later - earlier) % (65535 - 1024 + 1) for earlier, later in itertools.pairwise(ports)}
    assert steps == {1, 2, 3, 4}


def test_ports_keep_to_the_range() -> None:
    world = World(APDM, allocation=Allocation.RANDOM, ports=(3000, 3009))
    ports = {world.out(destination=("11.0.0.1", port))[1] for port in range(1, 11)}
    assert ports == set(range(3000, 3010))


def test_every_subscriber_has_a_block_of_its_own() -> None:
    world = World(APDM, allocation=Allocation.BLOCK, block_size=8, ports=(4000, 4015))
    blocks = [{world.out(host, ("11.0.0.1", port))[1] for port in range(1, 9)} for host in (HOST, NEIGHBOUR)]
    assert blocks == [set(range(4000, 4008)), set(range(4008, 4016))]
    assert world.send(HOST, ("11.0.0.1", 99)) is None
    assert world.send(("192.168.1.3", 1), SERVER) is None


def test_a_host_may_be_allowed_only_so_many_mappings() -> None:
    world = World(APDM, mappings_per_host=2)
    world.out()
    world.out(destination=SAME_ADDRESS)
    assert world.send(HOST, OTHER_ADDRESS) is None
    assert world.out(NEIGHBOUR)
    world.now += 300
    assert world.out(destination=OTHER_ADDRESS)


def test_a_paired_pool_gives_a_host_one_address_and_an_arbitrary_one_many() -> None:
    paired, arbitrary = World(APDM, pool_size=4), World(APDM, pool_size=4, paired=False)
    remotes = [("11.0.0.1", port) for port in range(1, 40)]
    assert len({paired.out(destination=remote)[0] for remote in remotes}) == 1
    assert paired.out()[0] != paired.out(NEIGHBOUR)[0]
    assert len({arbitrary.out(destination=remote)[0] for remote in remotes}) == 4


@pytest.mark.parametrize("filtering", Filtering)
def test_hairpinning_delivers_from_the_external_endpoint(filtering: Filtering) -> None:
    world = World(EIM, filtering, hairpinning=True)
    one, two = world.out(), world.out(NEIGHBOUR)
    world.send(HOST, two)
    seen = read(world.send(NEIGHBOUR, one))
    assert (seen.source, seen.destination) == (two, HOST)
    assert world.nat.counts.hairpinned >= 1


def test_hairpinning_obeys_the_filter() -> None:
    world = World(EIM, APDF, hairpinning=True)
    one = world.out()
    assert world.send(NEIGHBOUR, one) is None


def test_without_hairpinning_the_external_address_leads_nowhere_from_inside() -> None:
    world = World(EIM, EIF)
    one, two = world.out(), world.out(NEIGHBOUR)
    assert world.send(HOST, two) is None
    assert world.send(NEIGHBOUR, one) is None


def test_a_mapping_lives_for_its_lifetime_after_the_last_packet_out() -> None:
    world = World(lifetime=30)
    external = world.out()
    world.now += 29
    assert world.out() == external
    world.now += 29.9
    assert world.lets_in(SERVER, external)
    world.now += 0.1
    assert not world.lets_in(SERVER, external)


def test_what_comes_in_refreshes_only_where_that_is_said() -> None:
    for refresh in (False, True):
        world = World(lifetime=30, inbound_refresh=refresh)
        external = world.out()
        world.now += 29
        assert world.lets_in(SERVER, external)
        world.now += 2
        assert world.lets_in(SERVER, external) is refresh


def test_a_filtered_packet_refreshes_nothing() -> None:
    world = World(lifetime=30, inbound_refresh=True)
    external = world.out()
    world.now += 29
    assert not world.lets_in(OTHER_ADDRESS, external)
    world.now += 2
    assert not world.lets_in(SERVER, external)


def test_a_permission_expires_though_the_mapping_is_kept_alive_by_others() -> None:
    world = World(lifetime=30)
    external = world.out()
    world.out(destination=OTHER_ADDRESS)
    world.now += 29
    world.out(destination=OTHER_ADDRESS)
    world.now += 2
    assert not world.lets_in(SERVER, external)
    assert world.lets_in(OTHER_ADDRESS, external)


def test_an_expired_mapping_is_replaced_by_a_new_one() -> None:
    world = World(allocation=Allocation.SEQUENTIAL, lifetime=30)
    first = world.out()
    world.now += 30
    assert world.out()[1] == first[1] + 1


def test_a_flush_forgets_everything_and_may_give_the_same_port() -> None:
    world = World()
    external = world.out()
    world.nat.flush()
    assert not world.lets_in(SERVER, external)
    assert world.out() == external


@pytest.mark.parametrize("allocation", [Allocation.PRESERVING, Allocation.SEQUENTIAL, Allocation.RANDOM])
def test_after_a_rebind_every_endpoint_has_another_port_and_tcp_goes_on(allocation: Allocation) -> None:
    world = World(allocation=allocation)
    external = world.out()
    connection = world.nat.receive_packet(tcp(HOST, SERVER), world.now)
    world.nat.rebind()
    assert not world.lets_in(SERVER, external)
    again = world.out()
    assert again != external
    world.nat.rebind()
    assert world.out() != again
    assert read(world.nat.receive_packet(tcp(HOST, SERVER), world.now)).source == read(connection).source


def test_a_nat_that_moves_has_other_addresses_and_forgets_everything() -> None:
    world = World(EIM, EIF)
    external = world.out()
    world.nat.move(["11.1.0.9"])
    assert world.send(SERVER, external) is None
    assert world.out() == ("11.1.0.9", 5000)
    with pytest.raises(ValueError, match="the pool has 1 addresses, not 2"):
        world.nat.move(["11.1.0.8", "11.1.0.7"])


def test_the_latest_permissions_stay_when_there_are_too_many() -> None:
    world = World()
    external = world.out()
    for port in range(1, PERMISSIONS_MAX + 1):
        world.out(destination=("11.0.0.9", port))
    assert not world.lets_in(SERVER, external)
    assert world.lets_in(("11.0.0.9", 1), external)


def test_tcp_passes_and_a_finished_connection_is_forgotten_sooner() -> None:
    world = World()
    syn = read(world.nat.receive_packet(tcp(HOST, SERVER, 0x02), world.now))
    assert syn.source == (EXTERNAL, 5000)

    def answered(after: float, flags: int = 0x10) -> bool:
        world.now += after
        packet = world.nat.receive_packet(tcp(SERVER, syn.source, flags), world.now)
        assert packet is None or read(packet).destination == HOST
        return packet is not None

    assert answered(0, 0x12)
    assert answered(TCP_LIFETIME - 1)
    assert answered(TCP_LIFETIME - 1, 0x11)
    assert not answered(TCP_TRANSITORY_LIFETIME + 1)


def test_tcp_and_udp_have_ports_of_their_own() -> None:
    world = World()
    world.out()
    assert read(world.nat.receive_packet(tcp(HOST, SERVER), world.now)).source == (EXTERNAL, 5000)


def test_an_echo_is_translated_by_its_identifier() -> None:
    world = World()
    first = read(world.nat.receive_packet(echo(HOST[0], SERVER[0], 9), world.now))
    second = read(world.nat.receive_packet(echo(NEIGHBOUR[0], SERVER[0], 9), world.now))
    assert first.source[0] == second.source[0] == EXTERNAL
    assert first.source != second.source
    reply = read(world.nat.receive_packet(echo(SERVER[0], EXTERNAL, second.source[1], reply=True), world.now))
    assert reply == Seen((SERVER[0], 9), (NEIGHBOUR[0], 9), b"ping", 64)
    assert world.nat.receive_packet(echo(OTHER_ADDRESS[0], EXTERNAL, second.source[1], reply=True), world.now) is None


@pytest.mark.parametrize("quoted_size", [28, 64])
def test_an_error_about_what_went_out_reaches_its_sender_quoting_what_it_sent(quoted_size: int) -> None:
    world = World(allocation=Allocation.RANDOM)
    sent = udp(HOST, SERVER, b"x" * 36)
    out = world.nat.receive_packet(sent, world.now)
    assert out is not None
    error = world.nat.receive_packet(time_exceeded("11.254.2.1", EXTERNAL, out, quoted_size), world.now)
    assert error is not None
    assert checksum(error[:20]) in (0, 0xFFFF)
    assert checksum(error[20:]) in (0, 0xFFFF)
    assert error[12:20] == ipv4(ICMP, "11.254.2.1", HOST[0], b"")[12:20]
    quoted = error[28:]
    assert len(quoted) == quoted_size
    expected = sent[:8] + b"\x40" + sent[9:10]  # one hop more, which is the kernel's to take away again
    assert quoted[:10] == expected
    assert quoted[12:] == sent[12:quoted_size]
    assert checksum(quoted[:20]) in (0, 0xFFFF)


def test_an_error_about_what_the_nat_has_not_sent_is_dropped() -> None:
    world = World()
    external = world.out()
    forged = udp(external, OTHER_ADDRESS)
    assert world.nat.receive_packet(time_exceeded("11.254.2.1", EXTERNAL, forged), world.now) is None


def test_an_error_of_an_inside_host_leaves_by_the_external_address() -> None:
    world = World()
    external = world.out()
    received = world.send(SERVER, external)
    assert received is not None
    error = world.nat.receive_packet(time_exceeded(HOST[0], SERVER[0], received), world.now)
    assert error is not None
    assert error[12:16] == bytes([11, 1, 0, 1])
    assert checksum(error[20:]) in (0, 0xFFFF)
    assert read(error[28:] + udp(SERVER, external)[28 + 28 :]).destination == external
    stranger = time_exceeded(HOST[0], OTHER_ADDRESS[0], udp(OTHER_ADDRESS, HOST))
    assert world.nat.receive_packet(stranger, world.now) is None


def test_fragments_follow_the_first() -> None:
    world = World()
    whole = udp_datagram(HOST, SERVER, bytes(range(200)))
    first = ipv4(UDP, HOST[0], SERVER[0], whole[:96], fragment=0x2000)
    rest = ipv4(UDP, HOST[0], SERVER[0], whole[96:], fragment=96 // 8)
    parts = [world.nat.receive_packet(part, world.now) for part in (first, rest)]
    assert all(part is not None and part[12:16] == bytes([11, 1, 0, 1]) for part in parts)
    joined = b"".join(part[20:] for part in parts if part is not None)
    assert read(ipv4(UDP, EXTERNAL, SERVER[0], joined)).payload == bytes(range(200))
    assert world.nat.receive_packet(rest, world.now) is None


def test_a_datagram_without_a_checksum_gets_none() -> None:
    world = World()
    bare = ipv4(UDP, HOST[0], SERVER[0], struct.pack("!HHHH", HOST[1], SERVER[1], 8, 0))
    out = world.nat.receive_packet(bare, world.now)
    assert out is not None
    assert out[26:28] == b"\0\0"


@pytest.mark.parametrize(("ttl", "after"), [(1, 2), (63, 64), (255, 255)])
def test_the_hop_that_the_kernel_takes_for_nothing_is_given_back(ttl: int, after: int) -> None:
    world = World()
    assert read(world.nat.receive_packet(udp(HOST, SERVER, ttl=ttl), world.now)).ttl == after


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x60" + bytes(60),
        udp(HOST, SERVER)[:24],
        b"\x4f" + udp(HOST, SERVER)[1:30],
        b"\x42" + udp(HOST, SERVER)[1:],
        tcp(HOST, SERVER)[:30],
        ipv4(47, HOST[0], SERVER[0], bytes(20)),
        ipv4(ICMP, HOST[0], SERVER[0], b"\x0d" + bytes(19)),
        ipv4(ICMP, HOST[0], SERVER[0], b"\x0b" + bytes(19)),
        time_exceeded(HOST[0], SERVER[0], time_exceeded(SERVER[0], HOST[0], udp(HOST, SERVER))),
        udp(HOST, ("239.1.1.1", 5353)),
        udp(SERVER, ("11.9.9.9", 1)),
        udp(HOST, SERVER)[:6] + b"\x00\x05" + udp(HOST, SERVER)[8:],
    ],
)
def test_what_cannot_be_translated_is_dropped(packet: bytes) -> None:
    world = World(EIM, EIF)
    assert world.nat.receive_packet(packet, world.now) is None
    assert world.nat.counts.dropped == 1
    assert not world.nat.mappings(world.now)


@given(st.binary(max_size=120), st.booleans())
def test_nothing_that_comes_raises(data: bytes, framed: bool) -> None:
    world = World()
    world.out()
    world.nat.receive_packet(ipv4(data[0] % 20, HOST[0], SERVER[0], data) if framed and data else data, world.now)


@given(
    st.tuples(st.integers(1, 254), st.integers(1, 65535)),
    st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 65535)),
    st.binary(max_size=64),
    st.sampled_from(Allocation),
)
def test_a_packet_out_and_its_answer_have_right_checksums(
    inside: tuple[int, int], outside: tuple[int, int], payload: bytes, allocation: Allocation
) -> None:
    host = (f"192.168.1.{inside[0]}", inside[1])
    remote = (str(Endpoint(outside[0] % (224 << 24), 0)).rpartition(":")[0], outside[1])
    world = World(allocation=allocation)
    if remote[0].startswith(("192.168.1.", "11.1.0.1")):
        return
    out = read(world.nat.receive_packet(udp(host, remote, payload), world.now))
    assert (out.destination, out.payload) == (remote, payload)
    back = read(world.nat.receive_packet(udp(remote, out.source, payload), world.now))
    assert (back.source, back.destination, back.payload) == (remote, host, payload)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ports": (0, 5)}, "ports must be"),
        ({"ports": (9, 5)}, "ports must be"),
        ({"step": 0}, "step"),
        ({"pool_size": 0}, "at least one external address"),
        ({"allocation": Allocation.BLOCK, "block_size": 100_000}, "block_size"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NatSettings(EIM, EIF, **wrong)
