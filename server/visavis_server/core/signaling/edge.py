"""Connections of clients, without I/O: which there are, how many of one address, how much each may say, who is silent.

What a client is a member of stays when its connection is lost (`room.Peer`); what is here ends with the connection.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import ClassVar

from visavis_server.core.access.buckets import Bucket, Buckets
from visavis_server.core.access.causes import Cause
from visavis_server.core.errors import ServerError
from visavis_server.core.signaling.room import Peer
from visavis_server.core.signaling.rules import Rules


class ServerFull(ServerError):
    """The limit of connections is reached."""

    status: ClassVar[HTTPStatus] = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after: ClassVar[int] = 30
    """Seconds after which a client may try again: others leave at their own pace."""


class Draining(ServerFull):
    """The server is about to stop."""

    retry_after = 1


class TooManyConnections(ServerFull):
    """The limit of connections of one address is reached."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class TooManyFailures(ServerFull):
    """Too many wrong tokens have come from one address."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    retry_after = 6
    """Seconds until one more may be tried: ten a minute."""


class Client:
    """One connection of signaling, and the peer that speaks by it."""

    __slots__ = ("address", "bucket", "connected_at", "last_seen_at", "peer", "pinged_at", "source")

    def __init__(self, peer: Peer, address: str, source: str, now: float) -> None:
        """`address` is the IP address that it comes from, empty where that is unknown.

        `source` is what it is counted under (buckets.counted_source).
        """
        self.peer = peer
        self.address = address
        self.source = source
        self.bucket = Bucket()
        self.connected_at = now
        self.last_seen_at = now
        self.pinged_at = now

    def __repr__(self) -> str:
        return f"<Client of {self.peer!r}>"


class Edge:
    """All connections. `now` is in seconds on a monotonic clock."""

    def __init__(self, rules: Rules, buckets: Buckets) -> None:
        self.buckets = buckets
        self.clients: dict[str, Client] = {}
        """Those of signaling, by peer_id; at most `rules.peer_limit`."""
        self.connection_count = 0
        """Connections, the relay's included."""
        self._rules = rules
        self._sources: Counter[str] = Counter()
        """Of these the ones of each source."""

    # --- connections --------------------------------------------------------------------------------------------------

    def open(self, client: Client) -> None:
        """Note a new connection, whose peer must have none.

        Raises ServerFull, with nothing changed.
        """
        self.admit(client.source)
        self.clients[client.peer.peer_id] = client

    def close(self, client: Client) -> None:
        """Note that a connection of signaling has ended, or is about to be closed."""
        del self.clients[client.peer.peer_id]
        self.release(client.source)

    def rebind(self, client: Client, peer: Peer, now: float) -> None:
        """Note that a connection speaks for another peer from now on; the one that this peer had is released."""
        former = self.clients.pop(peer.peer_id, None)
        if former is not None:
            self.release(former.source)
        del self.clients[client.peer.peer_id]
        client.peer = peer
        client.connected_at = now if former is None else former.connected_at
        client.last_seen_at = client.pinged_at = now
        self.clients[peer.peer_id] = client

    def admit(self, source: str, instead_of: str | None = None) -> None:
        """Count a connection, of signaling or of the relay, until `release` is called with the same `source`.

        `source` is what it is counted under (`counted_source`). A connection that it replaces, of source `instead_of`,
        is released, and makes place for it.

        Raises ServerFull or TooManyConnections, with nothing changed.
        """
        rules, refusals = self._rules, self.buckets.refusals
        if instead_of is None and self.connection_count >= rules.peer_limit:
            refusals[Cause.CONNECTIONS] += 1
            raise ServerFull(f"{rules.peer_limit} connections are open")
        limit = rules.address_limit
        if limit and source and source != instead_of and self._sources[source] >= limit:
            refusals[Cause.ADDRESS_CONNECTIONS] += 1
            raise TooManyConnections(f"{limit} connections come from this address")
        if instead_of is not None:
            self.release(instead_of)
        self._sources[source] += 1
        self.connection_count += 1

    def release(self, source: str) -> None:
        """Note that an admitted connection of a source has ended."""
        self.connection_count -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]

    def is_connected(self, source: str) -> bool:
        """Whether a source has a connection."""
        return self._sources.get(source, 0) > 0

    def share_of(self, source: str) -> float:
        """Return which part of all connections a source has, 0.0 to 1.0."""
        return self._sources[source] / max(self.connection_count, 1)

    # --- time ---------------------------------------------------------------------------------------------------------

    def touch(self, peer_id: str, now: float) -> None:
        """Note that a connected client lives."""
        self.clients[peer_id].last_seen_at = now

    def silent(self, now: float) -> list[Client]:
        """Return those that have sent nothing for the stale timeout."""
        return [each for each in self.clients.values() if now - each.last_seen_at >= self._rules.stale_timeout]

    def idle(self, now: float) -> list[Client]:
        """Return those whose peer has joined nothing for too long."""
        timeout = self._rules.join_timeout
        if not timeout:
            return []
        return [each for each in self.clients.values() if not each.peer.info and now - each.connected_at >= timeout]

    def to_ping(self, now: float) -> tuple[str, ...]:
        """Return the peers whose connections are to be pinged now."""
        due = [each for each in self.clients.values() if now - each.pinged_at >= self._rules.ping_interval]
        for client in due:
            client.pinged_at = now
        return tuple(client.peer.peer_id for client in due)
