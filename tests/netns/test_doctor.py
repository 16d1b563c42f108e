"""`visavis doctor` between two sites of the lab."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.netns.lab import Client, Lab
from tests.netns.programs import URL, Record, agent, start, start_server
from tests.support.requirements import require

PARTNER = "port-restricted"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require("netns")
    with Lab() as lab:
        start_server(lab)
        yield lab


@pytest.fixture(scope="module")
def partner(lab: Lab) -> Client:
    return lab.site("partner", PARTNER).clients[0]


@pytest.mark.parametrize(("timeout", "lifetime"), [(6, 4.0), (30, 11.0)])
def test_the_report_tells_how_long_a_mapping_lasts_when_asked(timeout: int, lifetime: float, lab: Lab) -> None:
    """The kernel forgets a silent mapping after `timeout` seconds; 4 s, or 10 and 11, are tried."""
    site = lab.site(f"forgets-in-{timeout}", PARTNER)
    for name in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
        site.router.run("sysctl", "-qw", f"net.netfilter.{name}={timeout}")
    program = start(site.clients[0], "doctor", "--server", URL, "--lifetime", f"{lifetime:g}")
    assert program.finish(40) == 0
    record = program.first("doctor")
    assert record is not None, program.transcript()
    assert record["nat"]["lifetime_s"] == lifetime


def test_a_mapping_that_no_silence_leaves_alive_is_reported_so(lab: Lab) -> None:
    site = lab.site("forgetful", PARTNER)
    for name in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
        site.router.run("sysctl", "-qw", f"net.netfilter.{name}=2")
    program = start(site.clients[0], "doctor", "--server", URL, "--lifetime", "6")
    assert program.finish(40) == 0
    record = program.first("doctor")
    assert record is not None, program.transcript()
    assert record["nat"]["lifetime_s"] is None
    assert "lifetime: below 6 s, the shortest silence that was tried" in record["nat"]["notes"]


def attempt(client: Client, partner: Client, room: str, *more: str) -> tuple[Record, int]:
    """Run `visavis doctor --with` an invite that the partner follows; return its record and exit code."""
    other = agent(partner, room, "bob")
    try:
        other.wait_for("joined", 10)
        program = start(client, "doctor", "--with", f"{URL}/r/{room}", "--insecure", *more)
        code = program.finish(40)
        record = program.first("doctor")
        assert record is not None, program.transcript()
        return record, code
    finally:
        other.kill()


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("linux", "plain_ice"),
        ("symmetric-sequential", "prediction"),
        ("symmetric", "birthday"),
        ("udp-blocked", "relay"),
    ],
)
def test_the_attempt_is_what_was_forecast(lab: Lab, partner: Client, kind: str, method: str) -> None:
    client = lab.site(f"of-{kind}", kind).clients[0]
    record, code = attempt(client, partner, kind)
    assert code == 0
    assert record["forecast"]["a home router or firewall"] == method
    made = record["attempt"]
    assert made["expected"] == method
    assert made["path"] == ("relay" if method == "relay" else "direct")
    assert made["path_method"] == (method if method in ("prediction", "birthday") else None)
    assert (made["path_reason"] is None) is (method != "relay")
    assert not re.search(r"\b(11|192)(\.\d+){3}", str(record)), "a report can be shown to anybody"


def test_probing_is_left_alone_on_demand(lab: Lab, partner: Client) -> None:
    """Either side's word is enough; the forecast knows it."""
    client = lab.site("shy", "symmetric").clients[0]
    record, code = attempt(client, partner, "shy", "--probing", "never", "--show-addresses")
    assert code == 0
    assert record["attempt"]["expected"] == record["attempt"]["path"] == "relay"
    assert "takes no part" in record["attempt"]["path_reason"]
    assert record["endpoint"]["local"].startswith("192.168.")


def test_a_peer_that_is_not_there_is_told_after_the_report(lab: Lab) -> None:
    client = lab.site("lonely", "linux").clients[0]
    program = start(client, "doctor", "--with", f"{URL}/r/nobody", "--insecure", "--timeout", "2")
    assert program.finish(20) == 4
    record = program.first("doctor")
    assert record is not None
    assert record["attempt"]["error"] == "peer_absent"
    assert record["nat"]["mapping"] == "endpoint-independent"
