"""websocket: what real sockets do not show."""

from __future__ import annotations

from tests.unit.server.sockets.test_switchboard import FakeTransport
from visavis_server.sockets.websocket import observed_address


class Known(FakeTransport):
    """A transport with a peer address."""

    def __init__(self, *address: object) -> None:
        super().__init__()
        self.address = address

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.address if name == "peername" else default


def test_a_connection_without_an_address_is_known_by_none() -> None:
    """For example one over a Unix socket, or one that is gone already."""
    assert observed_address(Known()) is None


def test_zones_and_mapped_addresses_are_undone() -> None:
    for address, ip in (
        (("192.0.2.1", 5), "192.0.2.1"),
        (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1"),
        (("64:ff9b::c000:201", 5, 0, 0), "192.0.2.1"),
        (("2001:db8::1", 5, 0, 0), "2001:db8::1"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::1"),
    ):
        assert observed_address(Known(*address)) == (ip, 5)
