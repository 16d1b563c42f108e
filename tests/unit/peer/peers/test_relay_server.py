"""relay_server: where the relay is that a server names, and whether an agent goes there."""

from __future__ import annotations

import pytest

from visavis_peer.peers.relay_server import RelayNotUsed, RelayServer, offered_relay

PUBLIC, OTHER, LAN, LOOPBACK = "198.41.0.4", "199.9.14.201", "192.168.1.10", "127.0.0.1"
SERVER = "wss://meet.example/ws"


@pytest.mark.parametrize(
    ("server", "named", "url"),
    [
        (SERVER, None, "wss://meet.example/relay"),
        ("ws://u:p@meet.example:81/signal/ws?q", None, "ws://u:p@meet.example:81/signal/relay?q"),
        (SERVER, "wss://relay.example/a/relay", "wss://relay.example/a/relay"),
        (SERVER, f"wss://{OTHER}:8443/relay", f"wss://{OTHER}:8443/relay"),
        ("ws://meet.example/ws", "wss://relay.example/relay?x=1", "wss://relay.example/relay?x=1"),
        ("ws://meet.example/ws", "ws://relay.example/relay", "ws://relay.example/relay"),
        # a login is for the proxy in front of the server, by whatever path, and for nobody else
        ("wss://u:p@meet.example/ws", "wss://meet.example:443/elsewhere", "wss://u:p@meet.example/elsewhere"),
        ("wss://u:p@meet.example/ws", "wss://meet.example:8443/relay", "wss://meet.example:8443/relay"),
        ("wss://u:p@meet.example/ws", "wss://relay.example/relay", "wss://relay.example/relay"),
        ("ws://u:p@meet.example/ws", "wss://meet.example/relay", "wss://meet.example/relay"),
    ],
)
def test_the_relay_is_where_the_server_says_or_beside_it(server: str, named: str | None, url: str) -> None:
    assert offered_relay(server, named, PUBLIC, proxied=False).url == url


@pytest.mark.parametrize(
    "named",
    [
        "",
        "relay",
        "//relay.example/relay",
        "https://relay.example/relay",
        "WSS:relay.example",
        "wss://",
        "wss://:443/relay",
        "wss://relay.example:0/relay",
        "wss://relay.example:65536/relay",
        "wss://relay.example:x/relay",
        "wss://[::1/relay",
        "wss://u@relay.example/relay",
        "wss://relay.example\\@meet.example/relay",
        "wss://relay.example/relay#fragment",
        "wss://relay.example/re lay",
        "wss://relay.example/\r\nX-Header: 1",
        "wss://rélay.example/relay",
        "wss://relay.example/\x1b[31m",
    ],
)
def test_what_is_no_url_of_a_websocket_is_not_used_and_shown_escaped(named: str) -> None:
    with pytest.raises(RelayNotUsed, match="is no URL of a WebSocket") as caught:
        offered_relay(SERVER, named, PUBLIC, proxied=False)
    assert str(caught.value).isprintable()


def test_a_server_with_tls_sends_nobody_to_a_relay_without() -> None:
    with pytest.raises(RelayNotUsed, match="without TLS"):
        offered_relay(SERVER, "ws://meet.example/relay", PUBLIC, proxied=False)


@pytest.mark.parametrize(
    ("teller", "host", "may"),
    [
        (PUBLIC, OTHER, True),
        (PUBLIC, LAN, False),
        (PUBLIC, LOOPBACK, False),
        (PUBLIC, "169.254.169.254", False),
        (PUBLIC, "224.0.0.1", False),
        (PUBLIC, "0.0.0.0", False),
        (PUBLIC, "::1", False),
        (PUBLIC, "100.64.0.1", False),
        (PUBLIC, "fd00::1", False),
        (PUBLIC, "::ffff:192.168.1.1", False),
        (PUBLIC, "64:ff9b::c0a8:101", False),
        (PUBLIC, "64:ff9b::7f00:1", False),
        (PUBLIC, "2001:500:9f::42", True),
        (LAN, LAN, True),
        (LAN, "224.0.0.1", False),
        (LOOPBACK, LOOPBACK, True),
        ("", LAN, False),
        ("", LOOPBACK, False),
        ("", OTHER, True),
    ],
)
def test_nobody_is_sent_where_no_stun_server_would_be_asked_by_number_or_by_name(
    teller: str, host: str, may: bool
) -> None:
    named = f"wss://[{host}]/relay" if ":" in host else f"wss://{host}/relay"
    if may:
        assert offered_relay(SERVER, named, teller, proxied=False).may_be_at((host, 443))
    else:
        with pytest.raises(RelayNotUsed, match="on this machine or beside it"):
            offered_relay(SERVER, named, teller, proxied=False)
    assert offered_relay(SERVER, "wss://relay.example/relay", teller, proxied=False).may_be_at((host, 443)) is may
    # the relay beside the server is where the user's own word leads
    assert offered_relay(SERVER, None, teller, proxied=False).may_be_at((host, 443))


def test_through_a_proxy_only_the_servers_own_name_will_do() -> None:
    beside = offered_relay(SERVER, "wss://meet.example/elsewhere", "", proxied=True)
    assert beside == RelayServer("wss://meet.example/elsewhere")
    for named in ("wss://relay.example/relay", f"wss://{OTHER}/relay", f"wss://{LOOPBACK}/relay"):
        with pytest.raises(RelayNotUsed, match="which a proxy would look up"):
            offered_relay(SERVER, named, "", proxied=True)
