"""Ports that a real gateway daemon (miniupnpd) maps: two random NATs, which nothing else brings together directly."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.netns.lab import KINDS, Lab, Site
from tests.netns.lab.conditions import until
from tests.netns.programs import Record, agent, start_server
from tests.support.requirements import require
from visavis_peer.events import RelayCause

GATEWAY: Final = replace(
    KINDS["symmetric"],
    name="symmetric-gateway",
    forward="iifname wan ct status dnat accept; iifname wan ct state new drop",
)
"""A random NAT that lets in what is mapped."""
CONFIGURATION: Final = """
ext_ifname=wan
listening_ip=lan
{protocols}
http_port=5000
secure_mode=yes
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
lease_file={directory}/leases
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
CHAINS: Final = """
table inet miniupnpd {
chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
chain miniupnpd { }
chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
chain postrouting { type nat hook postrouting priority 90; policy accept; jump postrouting_miniupnpd; }
chain prerouting_miniupnpd { }
chain postrouting_miniupnpd { }
}
"""
PATIENCE: Final = 20.0
PROTOCOLS: Final = {
    "natpmp": "enable_natpmp=yes\nenable_upnp=no",
    "upnp": "enable_natpmp=no\nenable_upnp=yes",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require("netns")
    require("miniupnpd")
    with Lab() as lab:
        start_server(lab)
        yield lab


@contextmanager
def daemon(site: Site, directory: Path, protocol: str = "natpmp") -> Iterator[subprocess.Popen[str]]:
    """Run miniupnpd on the site's router, with NAT-PMP and PCP, or with UPnP alone."""
    site.router.nft(CHAINS)
    configuration = directory / "miniupnpd.conf"
    configuration.write_text(CONFIGURATION.format(directory=directory, protocols=PROTOCOLS[protocol]))
    command = ["miniupnpd", "-d", "-f", str(configuration), "-P", str(directory / "pid")]
    process = site.router.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: (":5351" if protocol == "natpmp" else ":1900") in site.router.run("ss", "-Hlun"))
        yield process
    finally:
        process.kill()
        process.wait()


def mapped(site: Site) -> str:
    """Return the rules by which the daemon maps ports."""
    return site.router.run("nft", "list", "chain", "inet", "miniupnpd", "prerouting_miniupnpd")


def is_direct(record: Record) -> bool:
    return bool(record["path"] == "direct")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_two_random_nats_link_directly_where_one_gateway_maps_ports(lab: Lab, tmp_path: Path, protocol: str) -> None:
    site, other = lab.site(f"mapping-{protocol}", GATEWAY), lab.site(f"plain-{protocol}", "symmetric")
    with daemon(site, tmp_path, protocol) as process:
        left = agent(site.clients[0], "mapped", "left")
        left.wait_for("joined", PATIENCE)
        until(lambda: "dnat" in mapped(site))
        right = agent(other.clients[0], "mapped", "right")
        try:
            paths = [program.wait_for("path", PATIENCE, is_direct, otherwise="link_up") for program in (left, right)]
            assert [path["method"] for path in paths] == [None, None]
            # the daemon is gone: what it has mapped stays, and so does the link
            process.kill()
            process.wait()
            assert left.stop() == 0
            assert "Traceback" not in left.errors
        finally:
            left.kill()
            right.kill()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mappings_are_given_back(lab: Lab, tmp_path: Path, protocol: str) -> None:
    site = lab.site(f"polite-{protocol}", GATEWAY)
    with daemon(site, tmp_path, protocol):
        program = agent(site.clients[0], "polite", "left")
        program.wait_for("joined", PATIENCE)
        until(lambda: "dnat" in mapped(site))
        assert program.stop() == 0
        until(lambda: "dnat" not in mapped(site))


def test_no_port_is_asked_for_where_that_is_not_wanted(lab: Lab, tmp_path: Path) -> None:
    site, other = lab.site("unwanted", GATEWAY), lab.site("other", "symmetric")
    with daemon(site, tmp_path):
        left = agent(site.clients[0], "unmapped", "left", "--port-mapping", "never")
        right = agent(other.clients[0], "unmapped", "right")
        try:
            left.wait_for("path", PATIENCE, lambda path: path["cause"] not in (None, RelayCause.NOT_YET))
            assert "dnat" not in mapped(site)
        finally:
            left.kill()
            right.kill()
