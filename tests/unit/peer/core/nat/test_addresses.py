"""core.addresses: which local addresses are used and which are not, and why."""

from __future__ import annotations

from visavis_peer.core.nat.addresses import ADDRESS_COUNT, Interface, choose_addresses

LO = Interface("lo", ("127.0.0.1", "::1"))
ETH = Interface("eth0", ("192.168.1.5", "2a0e::5", "fe80::1"), default_route=True)


def used(*interfaces: Interface, only: tuple[str, ...] = ()) -> list[str]:
    return [address.ip for address in choose_addresses(interfaces, only).used]


def test_ipv6_comes_first_and_link_local_and_loopback_not_at_all() -> None:
    choice = choose_addresses([LO, ETH])
    assert [address.ip for address in choice.used] == ["2a0e::5", "192.168.1.5"]
    assert {(skipped.address, skipped.reason) for skipped in choice.skipped} == {
        ("fe80::1", "link-local"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
    }


def test_loopback_is_the_last_resort() -> None:
    assert used(LO) == ["::1", "127.0.0.1"]


def test_the_interface_with_the_default_route_comes_first() -> None:
    assert used(Interface("tun0", ("10.8.0.2",)), ETH) == ["2a0e::5", "192.168.1.5", "10.8.0.2"]


def test_preferences_fall_with_the_rank() -> None:
    preferences = [address.preference for address in choose_addresses([ETH]).used]
    assert preferences == [65535, 65534]


def test_containers_down_and_empty_interfaces_are_skipped_with_the_reason() -> None:
    choice = choose_addresses(
        [ETH, Interface("docker0", ("172.17.0.1",)), Interface("eth1", ("10.0.0.1",), up=False), Interface("eth2", ())]
    )
    reasons = {skipped.interface: skipped.reason for skipped in choice.skipped if skipped.address is None}
    assert reasons == {"docker0": "leads to containers or virtual machines", "eth1": "down", "eth2": "no address"}


def test_a_named_interface_is_used_whatever_it_is_and_no_other() -> None:
    docker = Interface("docker0", ("172.17.0.1",))
    assert used(ETH, docker, LO, only=("docker0",)) == ["172.17.0.1"]
    assert used(ETH, LO, only=("lo",)) == ["::1", "127.0.0.1"]


def test_a_named_interface_that_is_not_there_is_told_of() -> None:
    choice = choose_addresses([ETH, LO], ("eth0", "nope0"))
    assert choice.missing == ["nope0"]
    assert choose_addresses([ETH, LO]).missing == []


def test_addresses_that_no_socket_can_use_are_skipped() -> None:
    assert used(Interface("x", ("0.0.0.0", "224.0.0.1", "10.0.0.1"))) == ["10.0.0.1"]


def test_there_are_never_more_addresses_than_the_limit() -> None:
    many = Interface("eth0", tuple(f"10.0.0.{number}" for number in range(1, 30)))
    choice = choose_addresses([many])
    assert len(choice.used) == ADDRESS_COUNT
    assert {skipped.reason for skipped in choice.skipped} == {"too many addresses"}
