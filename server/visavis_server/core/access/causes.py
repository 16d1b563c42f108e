"""Why the server refuses something: one closed set for metrics, the log and docs/limits.md."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """Why something was refused, as metrics and the log name it."""

    CONNECTION_RATE = "connection_rate"
    ADDRESS_RATE = "address_rate"
    PAIR_RATE = "pair_rate"
    ADDRESS_CONNECTIONS = "address_connections"
    CONNECTIONS = "connections"
    WRONG_TOKEN = "wrong_token"  # noqa: S105 -- a name
    """A token of an operator's that is not accepted, in the header, a JOIN or the admin API."""
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 -- a name
    """A room's."""
    RESUME_TOKEN = "resume_token"  # noqa: S105 -- a name
    """One that is not accepted."""
    GUESSES = "guesses"
    """A token or password that was not even looked at: too many wrong ones have come from there."""
    GUESSED_ROOM = "guessed_room"
    """A room has been shown NOTICE_COUNT wrong passwords."""
    ROOM_RATE = "room_rate"
    """A room that would have been made."""
    JOIN_RATE = "join_rate"
    """A JOIN of a room where others are."""
    ROOMS = "rooms"
    """Another one, of more than there may be."""
    ROOM_CAPACITY = "room_capacity"
    """A JOIN of a room that is full."""
    RELAY_TOKEN = "relay_token"  # noqa: S105 -- a name
    """A relay connection without the token of a peer: not a guess (128 bits), but an agent that has been forgotten."""
    NO_JOIN = "no_join"
    DRAINING = "draining"
    PENDING = "pending"
    """More connections without a request than there may be."""
    HANDSHAKE = "handshake"
    """No complete request in time."""
    MALFORMED = "malformed"
    """What is not HTTP."""
    DESCRIPTORS = "descriptors"
    """All places are taken, or the system has no descriptor for one more connection."""
    PROXY_HEADER = "proxy_header"
    """A header of the PROXY protocol that is malformed, missing or not expected."""
    HOST = "host"
    ORIGIN = "origin"
    ANSWERS = "answers"
    """More large answers of REST under way than there may be."""
    MAILBOX = "mailbox"
    """A directed message to a peer that is away: there is no space for it, or its sender has had its share."""
    UNREAD = "unread"
    """A client that does not read what it is sent."""
