"""The links of one agent: made when OFFER and ANSWER have crossed, carried on when a peer comes back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from visavis_peer.core.effects import Introduce, Role
from visavis_peer.core.events import Event, Failure, LinkDown, LinkUp, PathChanged, PathInfo, RelayCause
from visavis_peer.errors import AgentError, AuthenticationFailed, Refused
from visavis_peer.link.identity import Identity, Introduction
from visavis_peer.link.link import Link, LinkCallbacks
from visavis_peer.link.quic import SecureConnection, warm_up
from visavis_peer.net.relay import RelayClient
from visavis_peer.sessions import Session
from visavis_shared import limits
from visavis_shared.messages import OfferPayload

RelayPolicy = Literal["auto", "never", "only"]
LIVELY: Final = 10.0
"""Seconds since the last sign of life for which a link counts as alive: two of its pings."""
_IN_WORDS: Final = {
    RelayCause.NOT_YET: "no direct path has been found yet",
    RelayCause.PATH_LOST: "the direct path no longer works",
    RelayCause.RELAY_ONLY: "only the relay is allowed",
}
"""The causes that need no further word."""


class LinkOwner(Protocol):
    """What the links tell the agent's peering."""

    def emit(self, event: Event) -> None:
        """Tell the user."""

    def on_link_up(self, link: Link) -> None:
        """A link is up."""

    def on_link_closed(self, link: Link) -> None:
        """A link is over."""


class _Entry:
    """A link and what belongs to it."""

    def __init__(
        self, link: Link, instance: str, session: Session, relay: RelayClient | None, cause: RelayCause
    ) -> None:
        self.link = link
        self.instance = instance
        """What the peer says of its process."""
        self.made_at = session.started_at
        """When the OFFER in which it was made was sent or received."""
        self.moved_at = session.started_at
        """The same of the latest session."""
        self.relay = relay
        """The relay connection on which the peer's current id is known."""
        self.cause = cause
        """Why the link goes by the relay while it does."""
        self.reason = _IN_WORDS[cause]
        """The same in words."""

    def explain(self, cause: RelayCause, reason: str | None = None) -> None:
        """Note why the link goes by the relay while it does; `reason` where the cause alone does not say."""
        self.cause, self.reason = cause, reason or _IN_WORDS[cause]


class Links:
    """All links of one agent, by numbers of its own: nothing that a peer says of itself is a key."""

    def __init__(self, owner: LinkOwner, policy: RelayPolicy, *, sealed: bool) -> None:
        """`sealed` tells whether the room has a secret, so that whoever gets this far knows it."""
        self.identity = Identity()
        self._owner = owner
        self._policy: RelayPolicy = policy
        self._sealed = sealed
        self._entries: dict[int, _Entry] = {}
        self._numbers = itertools.count()
        self._relay: RelayClient | None = None
        self._relays: set[RelayClient] = set()
        self._make_relay: Callable[[], RelayClient] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._warming = self._loop.run_in_executor(None, warm_up)

    @property
    def up(self) -> list[Link]:
        """The links that are up."""
        return [entry.link for entry in self._entries.values() if entry.link.up]

    @property
    def has_relay(self) -> bool:
        """Whether there is a relay that links may use."""
        return self._make_relay is not None

    @property
    def relay_only(self) -> bool:
        """Whether no direct path may be used."""
        return self._policy == "only"

    def of_peer(self, peer_id: str) -> Link | None:
        """Return the link to a member of the room."""
        return next((entry.link for entry in self._entries.values() if entry.link.peer_id == peer_id), None)

    def claims(self, session_id: str) -> tuple[str, ...]:
        """Return the claims to all links: the peer of an OFFER may hold the other end of one, by whatever id."""
        return tuple(entry.link.claim(session_id, "offerer") for entry in self._entries.values())[: limits.LINK_COUNT]

    # --- made and carried on ------------------------------------------------------------------------------------------

    def introduce(self, effect: Introduce, session: Session, name: str | None) -> str | None:
        """Make the link of a session, or carry on the one with the same agent.

        Returns the peer id by which the link went so far, if that was another one.
        """
        former = None
        entry = self._carried_on(effect, session)
        if entry is not None:
            if session.role == "answerer":
                session.carries = entry.link.claim(session.session_id, "answerer")
            if entry.link.peer_id != effect.peer_id:
                former = entry.link.peer_id
            entry.link.peer_id, entry.link.name = effect.peer_id, name
            entry.relay = self._relay
            entry.moved_at = session.started_at
            entry.link.peer_is_outside(False)
        else:
            self._retire(effect)
            key = next(self._numbers)
            entry = self._entries[key] = self._make(key, effect, session, name)
        self._show_relay(entry)
        if not entry.link.started:
            entry.link.start()
        self._close_unused_relays()
        return former

    def _carried_on(self, effect: Introduce, session: Session) -> _Entry | None:
        """Return the link that the peer proves to hold the other end of."""
        theirs = effect.description
        claims = theirs.links if isinstance(theirs, OfferPayload) else (theirs.link,)
        role: Role = "offerer" if isinstance(theirs, OfferPayload) else "answerer"
        for entry in self._entries.values():
            if entry.link.claim(session.session_id, role) in claims:
                return entry
        return None

    def _retire(self, effect: Introduce) -> None:
        """Close the links with the process that a new one is made with: it has lost them.

        Any member may name another's instance: a link that shows signs of life is not given up for that.
        """
        for key, entry in list(self._entries.items()):
            of_another = entry.link.peer_id != effect.peer_id
            if entry.instance != effect.instance or (of_another and entry.link.up and entry.link.silence < LIVELY):
                continue
            del self._entries[key]
            entry.link.close("a new link takes its place")

    def _make(self, key: int, effect: Introduce, session: Session, name: str | None) -> _Entry:
        is_offerer = session.role == "offerer"
        theirs, ours = effect.description, self.identity.fingerprint
        assert theirs.fingerprint is not None  # the core refuses a description without
        assert theirs.nonce is not None
        introduction = Introduction(
            link_id=session.session_id,
            offerer_fingerprint=ours if is_offerer else theirs.fingerprint,
            answerer_fingerprint=theirs.fingerprint if is_offerer else ours,
            offerer_nonce=session.nonce if is_offerer else theirs.nonce,
            answerer_nonce=theirs.nonce if is_offerer else session.nonce,
        )
        connection = SecureConnection(self.identity, introduction, is_offerer=is_offerer)
        callbacks = LinkCallbacks(
            up=lambda: self._on_up(key),
            path_changed=lambda: self._on_path(key),
            down=lambda error: self._on_down(key, link, error),
            relay=lambda datagrams: self._send_by_relay(key, datagrams),
            relay_room=lambda: self._relay_room(key),
            narrow=lambda size: self._on_narrow(key, size),
        )
        link = Link(effect.peer_id, name, connection, callbacks, sealed=self._sealed)
        cause = RelayCause.RELAY_ONLY if self._policy == "only" else RelayCause.NOT_YET
        return _Entry(link, effect.instance, session, self._relay, cause)

    # --- paths --------------------------------------------------------------------------------------------------------

    def use_direct(self, session: Session) -> None:
        """Carry the peer's link on a session that has a valid pair."""
        link = self.of_peer(session.peer_id)
        if link is not None and session.ice is not None and session.path is not None:
            link.use_direct(session.ice, session.path)

    def lose_direct(self, session: Session) -> None:
        """Carry nothing on a session any longer."""
        for entry in list(self._entries.values()):
            if session.ice is not None and entry.link.direct is session.ice:
                entry.explain(RelayCause.RELAY_ONLY if self._policy == "only" else RelayCause.PATH_LOST)
                self._show_relay(entry)
                entry.link.lose_direct(session.ice)

    def receive(self, session: Session, datagrams: list[bytes]) -> None:
        """Take UDP payloads that came in on a session."""
        link = self.of_peer(session.peer_id)
        if link is not None:
            link.receive(datagrams, "direct")

    def explain(self, peer_id: str, reason: str) -> bool:
        """Note why there is no direct path to a peer; return whether there is a link all the same."""
        entry = next((each for each in self._entries.values() if each.link.peer_id == peer_id), None)
        if entry is None:
            return False
        if self._policy != "only":
            entry.explain(RelayCause.NO_PATH, reason)
        self._show_relay(entry)
        return entry.link.up

    def peer_left(self, peer_id: str) -> None:
        """The server no longer lists a peer."""
        link = self.of_peer(peer_id)
        if link is not None:
            link.peer_is_outside(True)

    # --- relay --------------------------------------------------------------------------------------------------------

    def offer_relay(self, make: Callable[[], RelayClient] | None, *, only: bool) -> None:
        """Take what makes a connection to the server's relay; None: there is no relay. With `only`, use nothing else.

        Raises Refused when the server wants nothing else and this agent nothing like it.
        """
        if only and self._policy == "never":
            raise Refused("the server allows no links but by its relay, and this agent none by a relay (--relay never)")
        if only:
            self._policy = "only"
        self._make_relay = None if self._policy == "never" else make
        self._relay = None

    def want_relay(self) -> None:
        """Connect to the relay: there is somebody to link with."""
        if self._relay is None and self._make_relay is not None:
            self._relay = self._make_relay()
            self._relays.add(self._relay)

    def renew_relay(self) -> None:
        """Move all links to the relay connection of the new signaling connection: its peer is the same."""
        if not self._entries:
            return
        self.want_relay()
        for entry in self._entries.values():
            entry.relay = self._relay
        self._close_unused_relays()

    def on_relay_state(self) -> None:
        """A relay connection has come up or gone down."""
        for entry in list(self._entries.values()):
            self._show_relay(entry)

    def on_relayed(self, peer_id: str, datagrams: list[bytes]) -> None:
        """Take UDP payloads that came by the relay."""
        link = self.of_peer(peer_id)
        if link is not None:
            link.receive(datagrams, "relay")

    def _send_by_relay(self, key: int, datagrams: Sequence[bytes]) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry.relay is not None:
            entry.relay.send(entry.link.peer_id, datagrams)

    def _relay_room(self, key: int) -> int:
        entry = self._entries.get(key)
        return 0 if entry is None or entry.relay is None else entry.relay.room(entry.link.relay_ready)

    def _show_relay(self, entry: _Entry) -> None:
        relay = entry.relay
        if relay is None or not relay.connected:
            entry.link.set_relay(None)
        else:
            path = PathInfo("relay", "server", "", relay.remote, None, entry.reason, cause=entry.cause)
            entry.link.set_relay(path)

    def _close_unused_relays(self) -> None:
        used = {entry.relay for entry in self._entries.values()} | {self._relay}
        for relay in self._relays - used:
            self._relays.discard(relay)
            self._spawn(relay)

    def _spawn(self, relay: RelayClient) -> None:
        task = asyncio.create_task(relay.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # --- what links say -----------------------------------------------------------------------------------------------

    def _on_up(self, key: int) -> None:
        link = self._entries[key].link
        elapsed = self._since(self._entries[key].made_at)
        self._owner.emit(LinkUp(link.peer_id, link.name, link.path, elapsed, link.authenticated))
        self._owner.on_link_up(link)

    def _on_path(self, key: int) -> None:
        entry = self._entries[key]
        link = entry.link
        elapsed = self._since(entry.moved_at)
        self._owner.emit(PathChanged(link.peer_id, link.name, link.path, elapsed, link.authenticated))

    def _on_narrow(self, key: int, size: int) -> None:
        entry = self._entries.get(key)
        if entry is not None:
            reason = f"the direct path carries datagrams of {size} bytes at most, and a link needs 1,200"
            entry.explain(RelayCause.NARROW, reason)
            self._show_relay(entry)

    def _on_down(self, key: int, link: Link, error: AgentError) -> None:
        entry = self._entries.get(key)
        current = entry is not None and entry.link is link
        if current:
            del self._entries[key]
        if isinstance(error, AuthenticationFailed):
            message = f"authentication failed: {error}"
            self._owner.emit(Failure(error.name, message, link.peer_id, link.name))
        elif isinstance(error, Refused) and not link.announced:
            message = f"refused: {error}"
            self._owner.emit(Failure(error.name, message, link.peer_id, link.name, authenticated=link.authenticated))
        if link.announced and not self._closed:
            self._owner.emit(LinkDown(link.peer_id, link.name, str(error), link.authenticated))
        if current:  # not one that another has replaced
            self._owner.on_link_closed(link)
        self._close_unused_relays()

    def _since(self, start: float) -> float:
        return (self._loop.time() - start) * 1000

    async def close(self) -> None:
        """Close every link, telling the peers, and every relay connection."""
        self._closed = True
        for entry in list(self._entries.values()):
            entry.link.close("")
        for relay in self._relays:
            self._spawn(relay)
        self._relays.clear()
        await asyncio.wait([self._warming, *self._closing])
