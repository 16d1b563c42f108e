"""net.interfaces by either source, against each other and against made-up route tables."""

from __future__ import annotations

import importlib
import socket
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from visavis_peer.host import interfaces, interfaces_psutil

FIRST: ModuleType = vars(interfaces)["netifaces"]
"""The source that this Python has."""
Address = namedtuple("Address", "family address")
ROUTE = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth1 00000000 {far} 0003 0 0 200 00000000 0 0 0
eth0 00000000 {near} 0003 0 0 100 00000000 0 0 0
docker0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0
gone0 00000000 {near} 0002 0 0 0 00000000 0 0 0
"""
ROUTE6 = f"""{"0" * 32} 00 {"0" * 32} 00 fd{"0" * 29}1 00000400 00000003 00000000 00000003 eth0
fe80{"0" * 28} 40 {"0" * 32} 00 {"0" * 32} 00000100 00000001 00000000 00000001 eth0
{"0" * 32} 00 {"0" * 32} 00 {"0" * 32} ffffffff 00000001 00000000 00200200 lo
"""


def kernel_hex(ip: str) -> str:
    return f"{int.from_bytes(socket.inet_aton(ip), sys.byteorder):08X}"


@pytest.fixture
def by_psutil(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`interfaces` as a Python without netifaces imports it."""
    monkeypatch.setitem(sys.modules, "netifaces", None)
    yield importlib.reload(interfaces)
    monkeypatch.undo()
    importlib.reload(interfaces)


@pytest.fixture
def routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "route").write_text(ROUTE.format(near=kernel_hex("192.0.2.1"), far=kernel_hex("198.51.100.1")))
    (tmp_path / "ipv6_route").write_text(ROUTE6)
    monkeypatch.setattr(interfaces_psutil, "_PROC", tmp_path)
    monkeypatch.setattr(interfaces_psutil, "_LINUX", True)
    return tmp_path


def machine(monkeypatch: pytest.MonkeyPatch, **addresses: list[str]) -> None:
    def listed() -> dict[str, list[Address]]:
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return {name: [Address(families[":" in each], each) for each in ips] for name, ips in addresses.items()}

    monkeypatch.setattr(psutil, "net_if_addrs", listed)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: dict.fromkeys(addresses))


def test_both_sources_tell_the_same_of_this_machine(by_psutil: ModuleType) -> None:
    assert by_psutil.netifaces is interfaces_psutil
    assert FIRST is not interfaces_psutil or sys.version_info >= (3, 15)
    netifaces: Any = FIRST
    names = set(netifaces.interfaces())
    assert names == set(interfaces_psutil.interfaces())
    by_name = {each.name: each for each in by_psutil.list_interfaces()}
    for name in names:
        theirs = {
            entry["addr"].partition("%")[0]
            for family in (netifaces.AF_INET, netifaces.AF_INET6)
            for entry in netifaces.ifaddresses(name).get(family, [])
        }
        assert theirs == set(by_name[name].addresses)
    assert netifaces.gateways().get("default", {}) == interfaces_psutil.gateways()["default"]


def test_the_smallest_metric_is_the_default(routes: Path) -> None:
    gateways = interfaces_psutil.gateways()
    assert gateways["default"] == {socket.AF_INET: ("192.0.2.1", "eth0"), socket.AF_INET6: ("fd00::1", "eth0")}
    assert gateways[int(socket.AF_INET)] == [("192.0.2.1", "eth0", True), ("198.51.100.1", "eth1", False)]
    assert gateways[int(socket.AF_INET6)] == [("fd00::1", "eth0", True)]


def test_the_gateway_is_that_of_the_address(
    routes: Path, by_psutil: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, eth0=["192.0.2.7"], eth1=["198.51.100.7"], wg0=["10.0.0.1"])
    found = [by_psutil.default_gateway(ip) for ip in ("192.0.2.7", "198.51.100.7", "10.0.0.1")]
    assert found == ["192.0.2.1", "198.51.100.1", None]


def test_a_default_route_without_a_gateway_marks_its_interface(routes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (routes / "route").write_text(f"{ROUTE.splitlines()[0]}\nppp0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n")
    (routes / "ipv6_route").unlink()
    assert interfaces_psutil.gateways() == {
        "default": {socket.AF_INET: ("0.0.0.0", "ppp0")},
        socket.AF_INET: [],
        socket.AF_INET6: [],
    }


def test_scopes_are_left_out_and_what_is_gone_has_no_addresses(
    by_psutil: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, eth0=["192.0.2.7", "fe80::1%eth0"], bare0=[])
    with pytest.raises(ValueError, match="gone0"):
        interfaces_psutil.ifaddresses("gone0")
    monkeypatch.setattr(interfaces_psutil, "interfaces", lambda: ["eth0", "bare0", "gone0"])
    found = {each.name: each.addresses for each in by_psutil.list_interfaces()}
    assert found == {"eth0": ("192.0.2.7", "fe80::1"), "bare0": (), "gone0": ()}


def test_elsewhere_the_kernel_is_asked_which_interface_it_would_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interfaces_psutil, "_PROC", tmp_path)
    monkeypatch.setattr(interfaces_psutil, "_LINUX", False)
    monkeypatch.setattr(interfaces_psutil, "_ANYWHERE", {socket.AF_INET: ("127.0.0.1", 9)})
    machine(monkeypatch, lo0=["127.0.0.1", "fe80::1%lo0"])
    assert interfaces_psutil.gateways()["default"] == {socket.AF_INET: ("", "lo0")}
    machine(monkeypatch, en0=["192.0.2.7"])
    assert interfaces_psutil.gateways()["default"] == {}
