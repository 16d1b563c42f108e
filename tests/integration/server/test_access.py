"""Who gets in: tokens, origins, host names, proxies, prefixes, TLS; and who has to stay outside for a while."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography import x509

from tests.support.certificates import make_certificate
from tests.support.conditions import until
from tests.support.server_running import http, running_server
from tests.support.ws_raw import RawClient, upgrade_request
from visavis_server.app import SignalingServer
from visavis_server.core.access.auth import make_room_token
from visavis_server.core.access.causes import Cause
from visavis_server.core.access.door import Capacity
from visavis_server.setup.keys import KeyFileError
from visavis_server.setup.settings import Settings

SECRET: Final = bytes(range(32))
OPENED: Final[list[RawClient]] = []


@pytest.fixture(autouse=True)
async def nothing_stays_open() -> AsyncIterator[None]:
    yield
    while OPENED:
        OPENED.pop().abort()
    await asyncio.sleep(0)


async def attempt(server: SignalingServer, **headers: str) -> RawClient:
    """Ask for an upgrade; `response` tells the outcome."""
    client = await RawClient.open(server.port)
    OPENED.append(client)
    client.write(upgrade_request(**headers))
    await client.read_response()
    return client


async def connect(server: SignalingServer, **headers: str) -> RawClient:
    client = await attempt(server, **headers)
    assert client.response.startswith("HTTP/1.1 101 "), client.response
    client.peer_id = (await client.receive())["peer_id"]
    return client


def status(client: RawClient) -> int:
    return int(client.response.split()[1])


async def details(client: RawClient, **payload: Any) -> str:
    answer = await client.request(type="JOIN", room_id="team-1", payload=payload)
    assert answer["payload"]["code"] == "UNAUTHORIZED", answer
    assert answer["payload"]["message"] == "cannot join this room"
    return str(answer["payload"]["details"])


def key_set(*keys: bytes) -> str:
    return json.dumps({"keys": [json.loads(jwt.algorithms.HMACAlgorithm.to_jwk(key)) for key in keys]})


def replace(path: Path, text: str) -> None:
    """Put a new file in the place of an old one, in one step."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def web_token(key: bytes = SECRET, **allowed: Any) -> str:
    return jwt.encode({"exp": time.time() + 60, "visavis": {"rooms": ["team-*"]} | allowed}, key, "HS256")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "room-secrets"
    path.write_text(f"# signs\n{SECRET.hex()}\n")
    return path


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(key_set(SECRET))
    return path


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_room_token_in_the_join_or_in_the_header(secret_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = make_room_token(SECRET, "team-1", int(time.time()) + 60)
    with caplog.at_level("DEBUG"):
        async with running_server(room_secret_file=secret_file) as server:
            client = await connect(server)
            assert await details(client) == "this server asks for a token"
            assert "not for this room" in await details(client, token=token[:-1])
            assert (await client.request(type="JOIN", room_id="team-1", payload={"token": token}))["type"] == "ACK"
            other = await connect(server, Authorization=f"Bearer {token}")
            assert (await other.request(type="JOIN", room_id="team-1"))["type"] == "ACK"
            answer = await other.request(type="JOIN", room_id="team-2")
            assert answer["payload"]["code"] == "UNAUTHORIZED"
            assert (await other.request(type="DISCOVER"))["type"] == "PEER_LIST", "it is where it was"
    assert token not in caplog.text
    assert token.rpartition(".")[2] not in caplog.text


async def test_a_web_token_in_the_header_is_checked_before_the_upgrade(jwks_file: Path) -> None:
    async with running_server(jwks_file=jwks_file) as server:
        refused = await attempt(server, Authorization=f"Bearer {web_token(bytes(32))}")
        assert status(refused) == 401
        assert "Www-Authenticate: Bearer" in refused.response.title()
        client = await connect(server, Authorization=f"Bearer {web_token(create=True)}")
        assert (await client.request(type="JOIN", room_id="team-1"))["type"] == "ACK"


async def test_a_room_is_created_only_by_who_may(jwks_file: Path) -> None:
    async with running_server(jwks_file=jwks_file) as server:
        guest = await connect(server)
        assert "does not allow to create it" in await details(guest, token=web_token())
        assert server.hub.rooms.open == {}
        host = await connect(server)
        await host.request(type="JOIN", room_id="team-1", payload={"token": web_token(create=True)})
        answer = await guest.request(type="JOIN", room_id="team-1", payload={"token": web_token()})
        assert answer["type"] == "ACK"


async def test_without_a_room_nobody_is_reached_where_tokens_are_asked_for(jwks_file: Path) -> None:
    async with running_server(jwks_file=jwks_file) as server:
        a, b = await connect(server), await connect(server)
        answer = await a.request(type="OFFER", target_id=b.peer_id, payload={})
        assert (answer["payload"]["code"], answer["payload"]["message"]) == ("UNAUTHORIZED", "join a room first")
        await b.nothing_more()


async def test_keys_change_while_the_server_runs(jwks_file: Path) -> None:
    new = bytes(reversed(SECRET))
    async with running_server(jwks_file=jwks_file) as server:
        client = await connect(server)
        before = server.hub.gate.authorizer
        replace(jwks_file, key_set(new))
        await until(lambda: server.hub.gate.authorizer is not before)
        assert "no key of this server" in await details(client, token=web_token(create=True))
        payload = {"token": web_token(new, create=True)}
        assert (await client.request(type="JOIN", room_id="team-1", payload=payload))["type"] == "ACK"


async def test_a_key_set_that_breaks_leaves_the_old_one_in_place(
    jwks_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server(jwks_file=jwks_file) as server:
        replace(jwks_file, '{"keys": "broken"}')
        await until(lambda: "the version read before stays in use" in caplog.text)
        client = await connect(server)
        payload = {"token": web_token(create=True)}
        assert (await client.request(type="JOIN", room_id="team-1", payload=payload))["type"] == "ACK"


async def test_wrong_tokens_in_the_header_are_throttled(jwks_file: Path) -> None:
    """A new connection for each guess does not help; the right token still opens."""
    async with running_server(jwks_file=jwks_file) as server:
        wrong = {"Authorization": f"Bearer {web_token(bytes(32))}"}
        assert [status(await attempt(server, **wrong)) for _ in range(12)] == [401] * 10 + [429] * 2
        assert server.hub.refusals[Cause.WRONG_TOKEN] == 12
        client = await connect(server, Authorization=f"Bearer {web_token(create=True)}")
        assert (await client.request(type="JOIN", room_id="team-1"))["type"] == "ACK"


async def test_wrong_tokens_end_the_connection(secret_file: Path) -> None:
    async with running_server(room_secret_file=secret_file) as server:
        client = await connect(server)
        for _ in range(10):
            assert await details(client, token="vrt1.5.0")
        client.send(type="JOIN", room_id="team-1", payload={"token": "vrt1.5.0"})
        assert (await client.closed()).code == 4029


@pytest.mark.parametrize("name", ["room_secret_file", "jwks_file"])
async def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match=r"cannot read .*nothing: No such file"):
        await SignalingServer(Settings(host="127.0.0.1", port=0, **{name: tmp_path / "nothing"})).start()


# --- pages, names, proxies --------------------------------------------------------------------------------------------


async def test_pages_of_other_origins_stay_outside() -> None:
    async with running_server(allowed_origin=["https://app.example.org"]) as server:
        assert status(await attempt(server, Origin="https://evil.example")) == 403
        assert status(await attempt(server, Origin="null")) == 403
        assert status(await attempt(server, Origin="https://app.example.org")) == 101
        assert status(await attempt(server)) == 101, "what is no page has no origin"


async def test_a_name_that_is_not_ours_is_refused() -> None:
    """DNS rebinding."""
    async with running_server(allowed_host=["signal.example.org"]) as server:
        assert status(await attempt(server, Host="evil.example")) == 403
        assert status(await attempt(server, Host="signal.example.org:8080")) == 101
        assert (await http(server.port, "/health")).status == 403


async def test_a_proxy_is_believed_only_where_it_is_declared() -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9, 192.0.2.1"}
    async with running_server(trusted_proxy=["127.0.0.0/8"]) as server:
        client = await connect(server, **forwarded)
        assert server.hub.rooms.peers[client.peer_id].source == "192.0.2.1"
    async with running_server() as server:
        client = await connect(server, **forwarded)
        assert server.hub.rooms.peers[client.peer_id].source == ""


async def test_a_path_prefix_stands_before_everything() -> None:
    async with running_server(path_prefix="/signal") as server:
        assert (await http(server.port, "/signal/health")).status == 200
        for path in ("/health", "/signal", "/signalhealth", "/ws", "/signal/signal/health"):
            assert (await http(server.port, path)).status == 404, path


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_connections_of_one_address_are_limited() -> None:
    async with running_server(trusted_proxy=["127.0.0.1"], address_limit=2) as server:
        one = {"X-Forwarded-For": "2001:db8::1"}
        same_site = {"X-Forwarded-For": "2001:db8::2"}
        first = await connect(server, **one)
        await connect(server, **same_site)
        refused = await attempt(server, **one)
        assert status(refused) == 429
        assert "Retry-After: 30" in refused.response
        await connect(server, **{"X-Forwarded-For": "2001:db8:0:1::1"})
        first.abort()
        await until(lambda: len(server.hub.rooms.peers) == 2)
        await connect(server, **one)


async def test_messages_beyond_the_rate_are_refused_and_a_flood_is_closed() -> None:
    async with running_server(message_rate=10) as server:
        client = await connect(server)
        for number in range(101):
            client.send(type="KEEP_ALIVE", request_id=str(number))
        answers = [await client.receive() for _ in range(101)]
        assert [answer["type"] for answer in answers] == ["ACK"] * 100 + ["ERROR"]
        assert answers[-1]["request_id"] == "100"
        assert answers[-1]["payload"] == {
            "code": "RATE_LIMITED",
            "message": "too many messages",
            "details": "limit: connection_rate",
        }
        for _ in range(200):
            client.send(type="KEEP_ALIVE")
        closed = await client.closed(answer=False)
        assert (closed.code, closed.reason) == (4029, "too many messages")
        assert server.hub.refusals[Cause.CONNECTION_RATE] > 100


async def test_one_target_is_spared() -> None:
    async with running_server(pair_rate=1) as server:
        sender, target, other = [await connect(server) for _ in range(3)]
        for _ in range(11):
            sender.send(type="OFFER", target_id=target.peer_id, payload={})
        sender.send(type="OFFER", target_id=other.peer_id, payload={})
        assert (await sender.receive())["payload"]["details"] == "limit: pair_rate"
        for _ in range(10):
            assert (await target.receive())["type"] == "OFFER"
        await target.nothing_more()
        assert (await other.receive())["type"] == "OFFER"


async def test_who_joins_nothing_is_closed() -> None:
    async with running_server(join_timeout=0.05, cleanup_interval=0.05) as server:
        member, idler = await connect(server), await connect(server)
        await member.request(type="JOIN", room_id="r")
        closed = await idler.closed()
        assert (closed.code, closed.reason) == (4008, "no JOIN for 0.05 s")
        await member.nothing_more()


# --- TLS --------------------------------------------------------------------------------------------------------------


def certify(directory: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key, over those that were there; return their paths."""
    made = make_certificate(directory, name, first_day=-1, last_day=1)
    return made.cert.replace(directory / "cert.pem"), made.key.replace(directory / "key.pem")


async def common_name(server: SignalingServer) -> str:
    """Return the name in the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.transport.abort()
    (attribute,) = x509.load_der_x509_certificate(shown).subject
    return str(attribute.value)


async def test_tls_with_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, "old.example")
    async with running_server(tls_cert=certificate, tls_key=key) as server:
        assert server.announcement.startswith("listening on https://")
        assert await common_name(server) == "old.example"
        certify(tmp_path, "new.example")
        names: list[str] = []
        while names[-1:] != ["new.example"]:
            names.append(await common_name(server))
            assert len(names) < 10_000


async def test_a_certificate_renewed_by_halves_serves_the_old_one_until_its_key_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Between the writing of the two files the server may look: what it has serves on, for every new connection."""
    certificate, key = certify(tmp_path, "old.example")
    (tmp_path / "new").mkdir()
    new_certificate, new_key = certify(tmp_path / "new", "new.example")
    async with running_server(tls_cert=certificate, tls_key=key) as server:
        replace(certificate, new_certificate.read_text())
        await until(lambda: "the version read before stays in use" in caplog.text)
        assert await common_name(server) == "old.example"
        replace(key, new_key.read_text())
        names: list[str] = []
        while names[-1:] != ["new.example"]:
            names.append(await common_name(server))
            assert len(names) < 10_000


async def test_a_bad_certificate_is_one_clear_error(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, "x")
    certificate.write_text("nonsense")
    with pytest.raises(KeyFileError, match="are not a certificate chain and its key in PEM"):
        await SignalingServer(Settings(host="127.0.0.1", port=0, tls_cert=certificate, tls_key=key)).start()


# --- connections that ask for nothing ---------------------------------------------------------------------------------


async def test_a_connection_that_asks_for_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: half a request is none."""
    monkeypatch.setattr("visavis_server.core.access.door.HANDSHAKE_TIMEOUT", 0.05)
    monkeypatch.setattr("visavis_server.sockets.guarded_server.DOOR_INTERVAL", 0.05)
    async with running_server() as server:
        member = await connect(server)
        silent, slow = await RawClient.open(server.port), await RawClient.open(server.port)
        OPENED.extend((silent, slow))
        slow.write(b"GET /ws HTTP/1.1\r\nHost: x\r\n")
        await silent.ended()
        await slow.ended()
        await member.nothing_more()
        assert server.door.expired == 2
        assert len(server.door) == 0


async def test_too_many_connections_that_ask_for_nothing_are_cut() -> None:
    async with running_server() as server:
        server.door.capacity = Capacity(1000, pending=2)
        waiting = [await RawClient.open(server.port) for _ in range(2)]
        OPENED.extend(waiting)
        await until(lambda: len(server.door) == 2)
        refused = await RawClient.open(server.port)
        OPENED.append(refused)
        await refused.ended()
        waiting[0].abort()
        await until(lambda: len(server.door) == 1)
        await connect(server)
        assert server.door.refused == 1
