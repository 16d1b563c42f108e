"""Every limit of the server that a client or a stranger can meet, and every cause for which something is refused."""

from __future__ import annotations

from typing import Final

from visavis_server.core import stun
from visavis_server.core.access import buckets, door, guessing, rate
from visavis_server.core.access.causes import Cause
from visavis_server.core.relay import books, relay
from visavis_server.core.rest.admin import BODY_SIZE
from visavis_server.core.signaling import charter as governance
from visavis_server.core.signaling import mailbox
from visavis_server.setup.settings import Settings
from visavis_server.sockets import answers, outbox, rest
from visavis_server.sockets.relay import MESSAGE_SIZE as RELAY_MESSAGE_SIZE
from visavis_shared import limits
from visavis_shared.closing import CloseCode
from visavis_shared.limit_table import Figure, Limit

BY_ADDRESS: Final = "IPv6 counts by /64; this host itself is not counted"


def _default(option: str, unit: str = "") -> Figure:
    return Figure(float(Settings.model_fields[option].default), unit)


SERVER_LIMITS: Final = (
    # --- connections --------------------------------------------------------------------------------------------------
    Limit(
        "connections of signaling and relay",
        (_default("peer_limit"),),
        "503 with Retry-After",
        "16 KiB each, 160 MiB; an agent whose links need the relay has two",
        option="peer_limit",
        causes=(Cause.CONNECTIONS,),
    ),
    Limit(
        "… of one address",
        (_default("address_limit"),),
        "429 with Retry-After",
        f"a household or a small office behind one NAT; {BY_ADDRESS}",
        option="address_limit",
        causes=(Cause.ADDRESS_CONNECTIONS,),
    ),
    Limit(
        "TCP connections of one address, beside those",
        (Figure(door.SOURCE_PENDING_LIMIT, "more"),),
        "429 with Retry-After; cut with TLS",
        "its requests to REST",
        causes=(Cause.ADDRESS_CONNECTIONS,),
    ),
    Limit(
        "… without a complete request, TLS handshakes among them",
        (
            Figure(door.PENDING_LIMIT),
            Figure(door.SOURCE_PENDING_LIMIT, "of one address"),
            Figure(door.HANDSHAKE_TIMEOUT, "s"),
        ),
        "503 with Retry-After; cut",
        "half-open handshakes and slow headers cost a connection each",
        causes=(Cause.PENDING, Cause.HANDSHAKE),
    ),
    Limit(
        "… that idle after an answer",
        (Figure(door.IDLE_LIMIT), Figure(door.HANDSHAKE_TIMEOUT, "s")),
        "the longest idle one is closed",
        "who polls REST, and proxies in front",
    ),
    Limit(
        "file descriptors that connections never take",
        (Figure(door.RESERVED_DESCRIPTORS),),
        "an idle connection makes way, else 503 with Retry-After",
        "listeners, STUN, files, refusals; with too few for the above the log says so at the start",
        causes=(Cause.DESCRIPTORS,),
    ),
    Limit(
        "time to the first JOIN",
        (_default("join_timeout", "s"),),
        f"close {CloseCode.NO_JOIN}",
        "the original's clients may talk without a room; 10 is a good value for agents",
        option="join_timeout",
        welcome="limits.join_timeout",
        causes=(Cause.NO_JOIN,),
    ),
    Limit(
        "silence of a client",
        (_default("stale_timeout", "s"),),
        f"close {CloseCode.UNRESPONSIVE}; PEER_LEFT `silent`",
        "two lost pings",
        option="stale_timeout",
        welcome="limits.stale_timeout",
    ),
    Limit(
        "unread messages of a client",
        (Figure(outbox.OUTBOX_SIZE, "bytes"), Figure(outbox.OUTBOX_COUNT, "messages")),
        f"close {CloseCode.TRY_AGAIN_LATER}; PEER_LEFT `silent`",
        "a second's worth on a slow line",
        causes=(Cause.UNREAD,),
    ),
    # --- messages -----------------------------------------------------------------------------------------------------
    Limit(
        "a message",
        (Figure(limits.MESSAGE_SIZE, "bytes"),),
        f"close {CloseCode.TOO_BIG}",
        "an OFFER with all its candidates is below 6 KiB",
        welcome="limits.message_size",
    ),
    Limit(
        "nested JSON in a payload",
        (Figure(limits.NESTING_DEPTH, "levels"),),
        "INVALID_MESSAGE",
        "the protocol needs no more than 5",
    ),
    Limit(
        "a room's id",
        (Figure(limits.ROOM_ID_LENGTH, "characters"),),
        "INVALID_MESSAGE",
        "fits a UUID, a host name, and a log line",
        welcome="limits.room_id_length",
    ),
    Limit(
        "a display name",
        (Figure(limits.DISPLAY_NAME_LENGTH, "characters"),),
        "INVALID_MESSAGE",
        "fits one line of a terminal",
        welcome="limits.display_name_length",
    ),
    Limit(
        "`request_id`, a password",
        (Figure(limits.REQUEST_ID_LENGTH, "characters"), Figure(limits.PASSWORD_LENGTH, "characters")),
        "INVALID_MESSAGE",
        "what is echoed must not grow answers",
    ),
    Limit("a token", (Figure(limits.TOKEN_LENGTH, "characters"),), "INVALID_MESSAGE", "a JSON Web Token has about 500"),
    Limit(
        "messages of a client",
        (_default("message_rate", "/s"), Figure(buckets.BURST, "s' worth at once")),
        f"RATE_LIMITED; after {buckets.PATIENCE:g} more seconds' worth close {CloseCode.TOO_MANY}",
        "an agent that meets 63 others at once sends each some ten; pings and pongs count, too",
        option="message_rate",
        welcome="limits.message_rate",
        causes=(Cause.CONNECTION_RATE,),
    ),
    Limit(
        "… of an address",
        (_default("address_rate", "/s"), Figure(buckets.BURST, "s' worth at once")),
        "the same",
        f"ten such agents behind one NAT; {BY_ADDRESS}",
        option="address_rate",
        causes=(Cause.ADDRESS_RATE,),
    ),
    Limit(
        "… from one client to one other",
        (_default("pair_rate", "/s"), Figure(buckets.BURST, "s' worth at once")),
        "the same",
        "32 candidates and an OFFER",
        option="pair_rate",
        welcome="limits.pair_rate",
        causes=(Cause.PAIR_RATE,),
    ),
    # --- secrets ------------------------------------------------------------------------------------------------------
    Limit(
        "wrong tokens and passwords of an address",
        (
            Figure(guessing.FAILURE_BURST, "at once"),
            Figure(guessing.FAILURE_RATE * 60, "a minute"),
            Figure(rate.NETWORK_FACTOR, "times as many of its /24 (IPv6: /48)"),
        ),
        f"what is shown is not looked at: RATE_LIMITED, close {CloseCode.TOO_MANY}; upgrade and admin API 429",
        "nobody mistypes so often; who was let in within the hour has tries of its own; this host is counted as well",
        causes=(Cause.GUESSES, Cause.WRONG_TOKEN, Cause.WRONG_PASSWORD),
    ),
    Limit(
        "resume tokens of an address that are not accepted",
        (Figure(guessing.RESUME_BURST, "at once"), Figure(guessing.RESUME_RATE, "/s")),
        f"UNAUTHORIZED; close {CloseCode.TOO_MANY}",
        "a site whose agents come back to a server with other keys",
        causes=(Cause.RESUME_TOKEN,),
    ),
    Limit(
        "wrong passwords of one room",
        (Figure(guessing.NOTICE_COUNT), Figure(guessing.NOTICE_INTERVAL, "s between two notices")),
        "NOTICE to its owner, a line in the audit log; in a private room NOTICE to its members from the first one on;"
        " nobody is kept out by it",
        "a room that is being guessed at",
        causes=(Cause.GUESSED_ROOM,),
    ),
    # --- rooms --------------------------------------------------------------------------------------------------------
    Limit(
        "rooms",
        (_default("room_limit"),),
        "ROOM_FULL; the longest empty one makes way",
        "one for every peer",
        option="room_limit",
        causes=(Cause.ROOMS,),
    ),
    Limit(
        "… made by one address",
        (
            _default("room_rate", "/s"),
            Figure(buckets.ROOM_BURST, "at once"),
            Figure(rate.NETWORK_FACTOR, "times as many by its /24 (IPv6: /48)"),
        ),
        "RATE_LIMITED",
        f"one for each agent after a restart; {BY_ADDRESS}",
        option="room_rate",
        causes=(Cause.ROOM_RATE,),
    ),
    Limit(
        "JOINs of rooms where others are, by one address",
        (
            _default("join_rate", "/s"),
            Figure(buckets.JOIN_BURST, "at once"),
            Figure(rate.NETWORK_FACTOR, "times as many by its /24 (IPv6: /48)"),
        ),
        "RATE_LIMITED",
        f"each has every member offer; RESUME is none; {BY_ADDRESS}",
        option="join_rate",
        causes=(Cause.JOIN_RATE,),
    ),
    Limit(
        "members of a room",
        (_default("room_capacity"),),
        "ROOM_FULL",
        "as in the original; an owner may set less",
        option="room_capacity",
        welcome="limits.room_capacity",
        causes=(Cause.ROOM_CAPACITY,),
    ),
    Limit(
        "an empty room is kept",
        (_default("empty_room_ttl", "s"),),
        "it is forgotten",
        "as in the original",
        option="empty_room_ttl",
    ),
    Limit(
        "what an owner sets: time to live, bans",
        (Figure(limits.ROOM_TTL_MAX, "s"), Figure(governance.BAN_COUNT, "bans")),
        "INVALID_MESSAGE; the oldest ban ends",
        "a month; a table in memory",
    ),
    # --- peers that are away ------------------------------------------------------------------------------------------
    Limit(
        "a peer that resumes is kept",
        (_default("resume_grace", "s"),),
        "PEER_LEFT; PEER_NOT_FOUND to who wrote to it",
        "a home router that restarts; as many of an address as `--address-limit`, the longest makes way",
        option="resume_grace",
    ),
    Limit(
        "messages kept for it",
        (Figure(mailbox.MAILBOX_SIZE, "bytes"), Figure(mailbox.MAILBOX_COUNT, "messages")),
        "PEER_NOT_FOUND to the sender",
        "64 descriptions of 4 KiB",
        causes=(Cause.MAILBOX,),
    ),
    Limit(
        "… for all peers of one address, for all",
        (Figure(mailbox.SHARE, "bytes"), Figure(mailbox.SPACE, "bytes in all")),
        "the same",
        "so that one address does not take everybody's space",
        causes=(Cause.MAILBOX,),
    ),
    Limit(
        "… of what one address sends",
        (
            Figure(mailbox.SENDER_SIZE, "bytes to one"),
            Figure(mailbox.SENDER_COUNT, "messages"),
            Figure(mailbox.SENDER_SHARE, "bytes in all"),
        ),
        "the same; in a full mailbox who has most makes way for who has less",
        "nobody fills a mailbox for others; of this host by peer",
        causes=(Cause.MAILBOX,),
    ),
    # --- HTTP and STUN ------------------------------------------------------------------------------------------------
    Limit(
        "reading an answer of REST",
        (_default("answer_timeout", "s"),),
        "cut",
        "6 MB, the list of 10,000 rooms, at 2.4 Mbit/s",
        option="answer_timeout",
        causes=(Cause.UNREAD,),
    ),
    Limit(
        "answers of more than 64 KiB under way",
        (
            Figure(answers.COUNT_LIMIT),
            Figure(answers.SOURCE_LIMIT, "to one address"),
            Figure(answers.SIZE_LIMIT, "bytes"),
        ),
        "503 with Retry-After",
        f"64 KiB each beside the list, which they share; {BY_ADDRESS}",
        causes=(Cause.ANSWERS,),
    ),
    Limit(
        "the body of a request to the admin API",
        (Figure(BODY_SIZE, "bytes"), Figure(rest.BODY_TIMEOUT, "s")),
        "413, 408",
        "a rule or a message",
    ),
    Limit(
        "STUN requests of an address",
        (Figure(stun.RATE, "/s"), Figure(stun.BURST, "at once")),
        "ignored",
        "four agents that survey their NAT; IPv6 by /64, this host is counted as well",
        causes=("stun_rate",),
    ),
    Limit(
        "… of all addresses without a connection",
        (Figure(stun.TOTAL_RATE, "/s"), Figure(stun.TOTAL_BURST, "at once")),
        "ignored",
        "500 agents that start together; what comes from forged addresses",
        causes=("stun_rate",),
    ),
    # --- the relay ----------------------------------------------------------------------------------------------------
    Limit(
        "a relayed message",
        (Figure(RELAY_MESSAGE_SIZE, "bytes"),),
        f"close {CloseCode.TOO_BIG}",
        "a batch of datagrams; short enough for others to have turns",
        welcome="relay.message_size",
    ),
    Limit(
        "bytes that two addresses relay, both directions",
        (_default("relay_rate", "bytes/s"), Figure(books.BURST, "s' worth at once")),
        "dropped; RATE_LIMITED",
        "remembered beyond rooms and connections; of this host by pair of peers",
        option="relay_rate",
        welcome="relay.rate",
        causes=("relay_rate",),
    ),
    Limit(
        "… in a day",
        (_default("relay_volume", "bytes"),),
        "dropped; RELAY_LIMIT",
        "likewise; it is there again little by little",
        option="relay_volume",
        welcome="relay.volume",
        causes=("relay_volume",),
    ),
    Limit(
        "bytes that one address sends through the relay",
        (_default("relay_address_rate", "bytes/s"), Figure(books.BURST, "s' worth at once")),
        "dropped; RATE_LIMITED",
        "IPv6 by /64, this host is counted as well; what comes to an address does not count: others could use it up",
        option="relay_address_rate",
        causes=("relay_address_rate",),
    ),
    Limit(
        "… in a day",
        (_default("relay_address_volume", "bytes"),),
        "dropped; RELAY_LIMIT",
        "likewise",
        option="relay_address_volume",
        causes=("relay_address_volume",),
    ),
    Limit(
        "pairs of peers that it sends for",
        (_default("relay_sessions"), Figure(books.PAIR_IDLE, "s since the last message")),
        "dropped; RELAY_LIMIT",
        "likewise; neither LEAVE nor a new connection makes place, but the other end that has most, its /24 (IPv6: /48)"
        " together, makes way for one that has less",
        option="relay_sessions",
        causes=("relay_sessions",),
    ),
    Limit(
        "peers that one was introduced to",
        (Figure(relay.PAIRS_PER_PEER), Figure(relay.RELAY_GRACE, "s after its connection")),
        "dropped; PEER_NOT_FOUND; the oldest make way",
        "four times the links of an agent",
        causes=("relay_not_introduced",),
    ),
    Limit(
        "messages for a peer whose relay connection is on its way",
        (
            Figure(relay.EARLY_COUNT),
            Figure(relay.EARLY_SIZE, "bytes"),
            Figure(relay.EARLY_TIME, "s"),
        ),
        "dropped; RELAY_LIMIT",
        "a first flight",
        causes=("relay_early",),
    ),
    Limit(
        "unread relayed messages",
        (Figure(outbox.OUTBOX_SIZE, "bytes"),),
        "dropped; RELAY_LIMIT to the sender",
        "the transport above slows down",
        causes=("relay_unread",),
    ),
)
"""In the order in which they are met. What is told and logged is so once a second at most, and cause."""

OTHER_REFUSALS: Final[dict[str, str]] = {
    Cause.RELAY_TOKEN: "401: a relay connection without the token of a peer, of an agent that was forgotten mostly",
    Cause.DRAINING: "503 with Retry-After: the server is about to stop",
    Cause.MALFORMED: "400: what is not HTTP",
    Cause.PROXY_HEADER: "cut: a header of the PROXY protocol that is malformed, missing or not expected",
    Cause.HOST: "403: none of `--allowed-host`",
    Cause.ORIGIN: "403: none of `--allowed-origin`",
    "relay_invalid": "INVALID_MESSAGE: no peer id and bytes",
}
"""What is refused for other reasons than a limit: what it is counted as, and what the client gets."""
