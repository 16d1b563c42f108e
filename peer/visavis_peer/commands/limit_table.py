"""Every limit of the agent that a peer, a server or a gateway can meet."""

from __future__ import annotations

from typing import Final

from visavis_peer.core import counts
from visavis_peer.core.ice import candidates
from visavis_peer.core.link import credits, kinds, liveness
from visavis_peer.core.meeting import negotiation, sealing, session_budget
from visavis_peer.core.nat import destinations, probing, strategy
from visavis_peer.host import gateway_http, names
from visavis_peer.ice import session, socket
from visavis_peer.link import challenge, control, datagrams, identity, quic, reception, serving, streams
from visavis_peer.peers import relay_connection
from visavis_peer.settings import PATIENCE
from visavis_peer.signaling import connection, http
from visavis_shared import limits
from visavis_shared.limit_table import Figure, Limit

PEER_LIMITS: Final = (
    # --- sending to addresses that a peer names -----------------------------------------------------------------------
    Limit(
        "packets to one address that has not answered",
        (
            Figure(destinations.PACKET_COUNT),
            Figure(destinations.STRANGER_SHARE, "of them for peers that the server does not see there"),
        ),
        "not sent",
        "checks, repetitions and openers of all sessions together; a check that comes in earns one, an answer all",
    ),
    Limit(
        "… of one session to all of these",
        (Figure(destinations.SESSION_COUNT),),
        "not sent",
        "what one OFFER or ANSWER can have sent, with as many addresses as it may name",
    ),
    Limit(
        "… until it may be tried anew",
        tuple(Figure(seconds, "s without an attempt") for seconds in destinations.RETRY_TIMES),
        "—",
        "as rounds of two peers follow each other; another network of one's own begins anew at once",
    ),
    Limit(
        "… of probes and openers for them, where the server sees the peer",
        (Figure(destinations.PROBE_COUNT),),
        "not sent",
        "only after its ANSWER, READY or first check; three rounds",
    ),
    Limit(
        "addresses that are counted",
        (Figure(destinations.TABLE_SIZE),),
        "who was sent least makes way",
        "32 sessions at once with as many candidates",
    ),
    Limit(
        "probes of a round",
        (
            Figure(counts.PROBE_BUDGET),
            Figure(strategy.RATE, "/s"),
            Figure(strategy.DURATION, "s"),
        ),
        "the round is over",
        "one session probes at a time",
    ),
    Limit(
        "answers to probes",
        (Figure(probing.ANSWER_COUNT, "to a pair"), Figure(probing.PAIR_COUNT, "pairs")),
        "answered once",
        "a block of ports gives two hits within a round trip",
    ),
    Limit(
        "candidates of a peer",
        (Figure(limits.CANDIDATE_COUNT), Figure(candidates.ADDRESS_COUNT, "of one address")),
        "ignored",
        "RFC 8445 section 19.5.1",
    ),
    Limit(
        "a candidate, a sealed description",
        (Figure(limits.CANDIDATE_LENGTH, "characters"), Figure(limits.SEALED_LENGTH, "characters")),
        "INVALID_MESSAGE",
        "a full line of IPv6 has about 150",
    ),
    Limit(
        "NAT reports of a session",
        (Figure(negotiation.REPORT_COUNT),),
        "ignored",
        "three times what a peer has to say",
    ),
    # --- peers --------------------------------------------------------------------------------------------------------
    Limit("members of a room that it knows of", (Figure(counts.MEMBER_COUNT),), "not seen", "connections of a server"),
    Limit("peers of an agent", (Figure(counts.PEER_COUNT),), "refused", "with 10 sockets each"),
    Limit(
        "sessions that peers have an agent begin",
        (
            Figure(session_budget.BURST, "at once"),
            Figure(session_budget.RATE, "/s"),
            Figure(session_budget.NEWCOMER_RESERVE, "left over by newcomers"),
        ),
        "an OFFER is ignored; a newcomer is offered to after 3 s",
        "each asks STUN servers, of which an address has so many a second; who has had few lately goes first",
    ),
    Limit("links that an OFFER names", (Figure(limits.LINK_COUNT),), "INVALID_MESSAGE", "as many as an agent keeps"),
    Limit(
        "protocols of links that OFFER and ANSWER name",
        (Figure(limits.LINK_PROTOCOL_COUNT), Figure(limits.LINK_PROTOCOL_LENGTH, "characters each")),
        "INVALID_MESSAGE",
        "there is one by now",
    ),
    Limit(
        "ids of a session, of a peer",
        (Figure(limits.SESSION_ID_LENGTH, "characters"), Figure(limits.PEER_ID_LENGTH, "characters")),
        "INVALID_MESSAGE",
        "the seed's example uses a UUID",
    ),
    Limit(
        "silence that a peer may ask for",
        (Figure(limits.PATIENCE_MAX, "s"),),
        "INVALID_MESSAGE",
        "a day",
    ),
    Limit(
        "OFFERs remembered, so that none is taken twice",
        (Figure(sealing.TAKEN_COUNT), Figure(sealing.SESSION_COUNT, "sessions' keys")),
        "the oldest make way",
        "those of 18 hours with one a second",
    ),
    Limit(
        "remote addresses of a socket that data is taken from",
        (Figure(socket.TRUSTED_SIZE),),
        "the oldest makes way",
        "a NAT that rebinds makes new ones",
    ),
    Limit(
        "datagrams before there is a link",
        (Figure(session.QUEUE_SIZE),),
        "the oldest are dropped",
        "300 KiB",
    ),
    # --- links --------------------------------------------------------------------------------------------------------
    Limit("a handshake", (Figure(liveness.HANDSHAKE_TIMEOUT, "s"),), "the link fails", "a round of checks and a retry"),
    Limit(
        "a link without a sign of life",
        (Figure(liveness.SILENCE, "s"), Figure(PATIENCE, "s suspended, or `--patience` of either side")),
        "suspended; given up",
        "an outage of 20 s passes",
    ),
    Limit(
        "ways of a link under challenge",
        (Figure(challenge.WAY_COUNT),),
        "the oldest makes way",
        "who claims a link proves it",
    ),
    Limit(
        "streams of one side",
        (Figure(credits.STREAM_COUNT, "at a time"), Figure(streams.UNREAD_COUNT, "unread")),
        "the link is closed",
        "memory",
    ),
    Limit(
        "the kind of a stream",
        (Figure(kinds.KIND_SIZE, "characters"), Figure(streams.HEADER_TIMEOUT, "s for the header")),
        "the stream is refused",
        "a length of one byte; what is lost of a header may have to wait for another path",
    ),
    Limit(
        "streams of a kind that is not offered",
        (Figure(reception.FIRST_OFFER_TIMEOUT, "s before the first offer, none after it"),),
        "the stream is refused",
        "the peer may be quicker than the program is",
    ),
    Limit(
        "handlers of streams of one kind",
        (Figure(serving.HANDLER_COUNT, "at a time"), Figure(serving.LAST_TIMEOUT, "s after the link is gone")),
        "the next waits; is cancelled",
        "as many as streams of one side; what was read can be made something of",
    ),
    Limit(
        "what is kept before an offerer has proved itself",
        (Figure(quic.EARLY_SIZE, "bytes"),),
        "the link is closed",
        "half of what its streams may carry before any credit",
    ),
    Limit(
        "unread datagrams of a link",
        (Figure(datagrams.RECEIVE_COUNT),),
        "the oldest are dropped",
        "1.2 MB, as UDP does",
    ),
    Limit(
        "datagrams of a link without an answer",
        (Figure(liveness.UNANSWERED_COUNT),),
        "the link is closed",
        "who acknowledges nothing on purpose",
    ),
    Limit(
        "a control frame, a certificate",
        (Figure(control.FRAME_SIZE, "bytes"), Figure(identity.CERTIFICATE_SIZE, "bytes")),
        "the link is closed",
        "ours have about 300 bytes",
    ),
    # --- servers and gateways -----------------------------------------------------------------------------------------
    Limit(
        "a message of the signaling server, of the relay",
        (Figure(connection.MESSAGE_SIZE, "bytes"), Figure(relay_connection.RECEIVE_SIZE, "bytes")),
        "the connection is closed",
        "a list of 10,000 members has 2 MiB",
    ),
    Limit(
        "connecting to them, and the welcome",
        (Figure(http.CONNECT_TIMEOUT, "s"),),
        "tried again",
        "six round trips of a second",
    ),
    Limit("resolving a name", (Figure(names.RESOLVE_TIMEOUT, "s"),), "left out", "nobody waits longer"),
    Limit(
        "an answer of a gateway",
        (Figure(gateway_http.ANSWER_SIZE, "bytes"), Figure(gateway_http.REQUEST_COUNT, "requests")),
        "a note in the report",
        "real descriptions have 2 to 20 KiB",
    ),
)
"""What is beyond one is never an error of this side: it is ignored, or ends the link of who did it."""
