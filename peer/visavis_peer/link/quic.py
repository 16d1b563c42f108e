"""One authenticated QUIC connection without I/O: qh3 behind the few calls that a link needs.

The only importer of qh3. The offerer is the QUIC client. It takes the peer for real when TLS has shown the certificate
that the ANSWER named, and proves itself with HELLO as the first bytes of stream 0, the control stream; the answerer
delivers nothing before that proof.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from qh3._hazmat import Buffer  # exported nowhere else
from qh3.quic import events as quic_events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection, QuicConnectionError
from qh3.quic.packet import pull_quic_transport_parameters, push_quic_transport_parameters
from qh3.quic.tls_bridge import QuicTlsBridge

from visavis_peer.core.counts import DATAGRAM_SIZE as DATAGRAM_SIZE
from visavis_peer.core.link.credits import SHARE, STREAM_COUNT, WINDOW_BASE
from visavis_peer.link import control
from visavis_peer.link.identity import Identity, Introduction, proves

# it warns of every close by the peer, which is how links end
logging.getLogger("quic").setLevel(logging.CRITICAL)

P = ParamSpec("P")
T = TypeVar("T")

ALPN: Final = "visavis/1"
RELAYED_SIZE: Final = 16_000
"""Bytes of a UDP payload as long as the relay is all there is: TCP carries any size, and a thirteenth of the packets
take half the CPU time (scripts/bench relay_link). Four of them fill a message of the relay's, and a line of 1 Mbit/s
takes one in 0.13 s."""
PAYLOAD_MAX: Final = 65_527
"""Bytes of a UDP payload at most, which is what an end says it takes (RFC 9000 section 18.2)."""
DATAGRAM_OVERHEAD: Final = 48
"""Bytes of a UDP payload that are not the application's: packet header 11 and tag 16, frame header 3, our kind 1, and
17 to spare for the acknowledgements that share the packet."""
STREAM_WINDOW: Final = 2 * (SHARE + WINDOW_BASE)
"""Bytes of one stream that the engine takes, in order or not. It widens a window when half of it has come in, and once
`shrink` has been called the sender goes by our own credits alone: so twice what these can be (core/link/credits.py)."""
RECEIVE_WINDOW: Final = 2 * (SHARE + 2 * STREAM_COUNT * WINDOW_BASE)
"""Bytes of all streams together: likewise."""
EARLY_SIZE: Final = 1 << 20
"""Bytes kept for an offerer that has not proved itself yet: its 64 streams may carry half of that before any credit."""
EARLY_OVERHEAD: Final = 256
"""Bytes that an event counts beside its data."""
IDLE_TIMEOUT: Final = 60.0
"""Seconds beyond the link's patience; never reached, for the link itself gives up sooner (link.py, SILENCE)."""
INITIAL_RTT: Final = 0.1
"""Seconds taken for the round trip until it is measured: a lost first flight is repeated after three of them. RFC 9002
says 0.333, for strangers; ours have just exchanged messages."""
UNLIMITED: Final = 1 << 30
"""Bytes that a path takes at a time where too many are lost and nobody is told."""
CONTROL_STREAM: Final = 0

CLOSED: Final = 0
AUTHENTICATION_FAILED: Final = 1
PROTOCOL_VIOLATION: Final = 2
REFUSED: Final = 3
"""Codes with which a side closes the connection."""
_ADDRESS: Final = ("192.0.2.1", 9)
"""What the engine takes for the peer's address: one, for paths are the link's business (RFC 5737)."""
_INITIAL_MASK: Final = 0xF0
_INITIAL: Final = 0xC0
"""First byte of a QUIC version 1 Initial packet (RFC 9000 section 17.2.2)."""
_LARGEST_LIMIT: Final = (1 << 62) - 1
"""The largest limit (RFC 9000 section 16)."""
_BAD_CERTIFICATE: Final = 0x100 + 42
"""CRYPTO_ERROR with TLS's alert bad_certificate (RFC 9001 section 4.8): qh3 raises it when the fingerprint differs."""


@dataclass(frozen=True, slots=True)
class Established:
    """Both sides are who OFFER and ANSWER said."""


@dataclass(frozen=True, slots=True)
class StreamData:
    """Bytes of a stream, in order."""

    stream_id: int
    data: bytes
    end: bool


@dataclass(frozen=True, slots=True)
class StreamAborted:
    """The peer has given up sending on a stream."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The peer reads no further."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class Datagram:
    """A QUIC datagram, its kind byte included."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Control:
    """A frame of the control stream."""

    frame: control.Credit | control.Done


@dataclass(frozen=True, slots=True)
class Alive:
    """The peer has acknowledged a ping."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """The connection is over."""

    code: int
    reason: str
    authentic: bool
    """False when the peer was not who it had to be."""
    by_peer: bool
    """Whether the peer, and not this side, has ended it."""


ConnectionEvent = Established | StreamData | StreamAborted | StreamStopped | Datagram | Control | Alive | Terminated


class _Engine(QuicConnection):
    """qh3's connection without what it does a datagram for a log that nobody keeps: a third of a sender's time.

    And one whose datagrams can be made smaller while it lives; larger ones the engine refuses to make after that.
    """

    closed_here = False
    """Whether this side has ended the connection, or its TLS has, and not what came in."""
    limit = PAYLOAD_MAX
    """Bytes of a datagram at most, once the peer's transport parameters are here."""

    def shrink(self, size: int) -> None:
        """Send datagrams of `size` bytes at most from now on."""
        self.limit = min(self.limit, size)
        theirs = self._applied_transport_parameters
        if self._core is None or theirs is None:
            return
        bidirectional, unidirectional, *_ = self._core.stream_limits
        # applied as if the peer took no more. The limits of the first time would be taken for today's, so: of streams
        # today's, of bytes none, for our own credits allow less (core/link/credits.py)
        self._core.apply_peer_transport_parameters(
            _LARGEST_LIMIT,
            _LARGEST_LIMIT,
            _LARGEST_LIMIT,
            _LARGEST_LIMIT,
            bidirectional,
            unidirectional,
            3 if theirs.ack_delay_exponent is None else theirs.ack_delay_exponent,
            0.025 if theirs.max_ack_delay is None else theirs.max_ack_delay / 1000,
            theirs.max_idle_timeout / 1000 if theirs.max_idle_timeout else None,
            theirs.max_datagram_frame_size,
            theirs.stateless_reset_token,
            theirs.active_connection_id_limit or 2,
            bool(theirs.disable_active_migration),
            self.limit,
        )

    def _create_tls(self, remote_source_cid: bytes | None) -> QuicTlsBridge:
        """Say that any datagram is welcome: the engine's client says 1,472 whatever it is told."""
        bridge = super()._create_tls(remote_source_cid)
        bridge.tls.handshake_extensions = [(kind, _welcoming(value)) for kind, value in bridge.tls.handshake_extensions]
        return bridge

    def _call_core(self, operation: Callable[..., T], *args: Any) -> T:
        """Note who closes: the event of the end does not tell."""
        self.closed_here = self.closed_here or getattr(operation, "__name__", "") == "close"
        return super()._call_core(operation, *args)

    def _drain_tls(self) -> None:
        parameters = None if self._tls is None else self._tls.remote_transport_parameters
        if self.limit < PAYLOAD_MAX and parameters is not None:
            parameters.max_udp_payload_size = self.limit
        super()._drain_tls()

    def take_datagrams(self, now: float, limit: int) -> list[bytes]:
        """Return the UDP payloads to send now, of `limit` bytes in all at most, but one at least.

        Raises RuntimeError when the engine fails.
        """
        if self._core is None:
            return []
        transmits = iter(partial(self._core.poll_transmit, now), None)
        return [transmit[0] for transmit in islice(transmits, max(1, limit // self.datagram_size))]

    @property
    def datagram_size(self) -> int:
        """Bytes of a datagram at most, by now."""
        return DATAGRAM_SIZE if self._core is None else self._core.active_path[5]

    @property
    def in_flight(self) -> int:
        """Bytes of packets that the peer has to acknowledge (RFC 9002 section 2)."""
        return 0 if self._core is None else self._core.bytes_in_flight

    @property
    def rtt(self) -> float:
        """Seconds of a smoothed round trip, 0 before the first."""
        return (0.0 if self._core is None else self._core.smoothed_rtt) or 0.0

    @property
    def latest_rtt(self) -> float:
        """Seconds of the latest round trip, 0 before the first."""
        return (0.0 if self._core is None else self._core.latest_rtt) or 0.0

    @property
    def confirmed(self) -> bool:
        """Whether the handshake is confirmed (RFC 9001 section 4.1.2)."""
        return bool(self._handshake_confirmed)

    @property
    def probes(self) -> int:
        """Probe timeouts in a row."""
        return 0 if self._core is None else self._core.pto_count

    @property
    def may_open(self) -> bool:
        """Whether the peer's limit allows one more bidirectional stream."""
        if self._core is None:
            return False
        limit, _, opened, _ = self._core.stream_limits
        return opened < limit

    def _log_datagram(self, event: str, data: bytes) -> None:
        """Log nothing."""


class SecureConnection:
    """One end of the connection. `now` is in seconds, monotonic; nothing raises but `send_*` after the end."""

    def __init__(
        self, identity: Identity, introduction: Introduction, *, is_offerer: bool, patience: float = 0.0
    ) -> None:
        """`patience` is how many seconds of silence the connection is to outlive."""
        self.introduction = introduction
        self.is_offerer = is_offerer
        self.established = False
        self.terminated: Terminated | None = None
        self.roomy = False
        """Whether the path takes RELAYED_SIZE bytes; to be set before the first datagram goes or comes."""
        self.may_grow = True
        """Whether the engine may find out that the path takes more than DATAGRAM_SIZE bytes; to be set likewise."""
        self._identity = identity
        self._idle_timeout = IDLE_TIMEOUT + patience
        self._quic: _Engine | None = None
        self._events: deque[ConnectionEvent] = deque()
        self._early: deque[quic_events.QuicEvent] = deque()
        """What came before the offerer's proof; bounded by EARLY_SIZE, for the engine's windows grow as it delivers."""
        self.early_size = 0
        """Bytes of that."""
        self._control = control.ControlReader()

    # --- datagrams ----------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin the handshake, on the offerer's side. Idempotent."""
        if self._quic is None:
            self._quic = _Engine(configuration=self._client_configuration())
            self._quic.connect(_ADDRESS, now)

    def receive(self, datagrams: list[bytes], now: float) -> None:
        """Take UDP payloads of the peer."""
        if self._quic is None:
            datagrams = self._accept(datagrams)
            if self._quic is None:
                return
        try:
            self._quic.receive_many_datagrams(datagrams, _ADDRESS, now)
        except QuicConnectionError as error:
            self._fail(str(error))
        self._take_events()

    def take_datagrams(self, now: float, limit: int = UNLIMITED) -> list[bytes]:
        """Return the UDP payloads to send now, of `limit` bytes in all at most, but one at least."""
        if self._quic is None:
            return []
        try:
            return self._quic.take_datagrams(now, limit)
        except RuntimeError as error:
            self._fail(str(error))
            return []

    def next_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called, or None."""
        return None if self._quic is None or self.terminated else self._quic.get_timer()

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""
        if self._quic is None:
            return
        try:
            self._quic.handle_timer(now)
        except QuicConnectionError as error:
            self._fail(str(error))
        self._take_events()

    def next_event(self) -> ConnectionEvent | None:
        """Return the next event, if there is one."""
        return self._events.popleft() if self._events else None

    @property
    def datagram_size(self) -> int:
        """Bytes of a UDP payload that are sent at most, by now."""
        return DATAGRAM_SIZE if self._quic is None else self._quic.datagram_size

    def shrink(self, size: int) -> None:
        """Send datagrams of `size` bytes at most from now on, once the handshake has begun; or from when it is done."""
        if self._quic is not None:
            self._quic.shrink(size)

    # --- what to send -------------------------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Bytes of streams that the engine has not sent for the first time."""
        return 0 if self._quic is None else self._quic.get_send_buffer_size()

    @property
    def in_flight(self) -> int:
        """Bytes of packets that the peer has to acknowledge (RFC 9002 section 2)."""
        return 0 if self._quic is None else self._quic.in_flight

    @property
    def rtt(self) -> float:
        """The smoothed round trip in seconds, 0 before it is measured (RFC 9002 section 5)."""
        return 0.0 if self._quic is None else self._quic.rtt

    @property
    def latest_rtt(self) -> float:
        """The latest round trip in seconds, 0 before one is measured (RFC 9002 section 5.1)."""
        return 0.0 if self._quic is None else self._quic.latest_rtt

    @property
    def confirmed(self) -> bool:
        """Whether the peer has all keys: before that it drops what overtakes the handshake on a faster path."""
        return self._quic is not None and self._quic.confirmed

    @property
    def probes(self) -> int:
        """Probe timeouts since the peer has last acknowledged something (RFC 9002 section 6.2)."""
        return 0 if self._quic is None else self._quic.probes

    @property
    def may_open(self) -> bool:
        """Whether the peer takes one more stream; it says so some time after one is over (RFC 9000 section 4.6)."""
        return self._quic is not None and self._quic.may_open

    def next_stream_id(self) -> int:
        """Return the id of the next stream that this side opens."""
        assert self._quic is not None
        return self._quic.get_next_available_stream_id()

    def send_stream(self, stream_id: int, data: bytes | memoryview, *, end: bool = False) -> None:
        """Send on a stream; the engine keeps what it cannot send yet."""
        self._tell(QuicConnection.send_stream_data, stream_id, data, end)

    def send_control(self, frame: control.ControlFrame) -> None:
        """Send a frame on the control stream."""
        self.send_stream(CONTROL_STREAM, control.encode(frame))

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Give up sending on a stream."""
        self._tell(QuicConnection.reset_stream, stream_id, code)

    def stop_stream(self, stream_id: int, code: int) -> None:
        """Ask the peer to send no more on a stream."""
        self._tell(QuicConnection.stop_stream, stream_id, code)

    def send_datagram(self, data: bytes) -> None:
        """Send a QUIC datagram; it is lost when the path loses it."""
        self._tell(QuicConnection.send_datagram_frame, data)

    def ping(self) -> None:
        """Ask for a sign of life; it passes a full congestion window, and its answer shows what was lost."""
        if self.established:
            self._tell(QuicConnection.send_ping, 0)

    def close(self, code: int, reason: str) -> None:
        """End the connection; `take_datagrams` has the notice to the peer."""
        if self.terminated is None:
            self._terminate(code, reason, authentic=code != AUTHENTICATION_FAILED, by_peer=False)
            if self._quic is not None:
                self._quic.close(code, reason_phrase=reason)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _tell(self, method: Callable[Concatenate[QuicConnection, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call the engine; what comes too late, when the peer has closed or has all of a stream, it refuses."""
        if self._quic is not None and self.terminated is None:
            with contextlib.suppress(QuicConnectionError, ValueError):
                method(self._quic, *args, **kwargs)

    def _client_configuration(self) -> QuicConfiguration:
        configuration = self._configuration(is_client=True)
        # the fingerprint says all: no authority has signed this certificate, and no name is in it
        configuration.verify_mode = ssl.CERT_NONE
        configuration.assert_fingerprint = self.introduction.answerer_fingerprint
        configuration.server_name = "visavis"
        return configuration

    def _configuration(self, *, is_client: bool) -> QuicConfiguration:
        return QuicConfiguration(
            is_client=is_client,
            alpn_protocols=[ALPN],
            idle_timeout=self._idle_timeout,
            initial_rtt=INITIAL_RTT,
            max_data=RECEIVE_WINDOW,
            max_stream_data=STREAM_WINDOW,
            max_datagram_size=RELAYED_SIZE if self.roomy else DATAGRAM_SIZE,
            max_datagram_frame_size=DATAGRAM_SIZE,
            # of sizes up to what Ethernet carries (RFC 8899); what is lost on the way tells that they do not pass
            probe_datagram_size=self.may_grow and not self.roomy,
        )

    def _accept(self, datagrams: list[bytes]) -> list[bytes]:
        """Begin with the first Initial packet, on the answerer's side; return it and what follows."""
        for index, datagram in enumerate(datagrams):
            destination = _initial_destination(datagram)
            if destination is not None and not self.is_offerer and self.terminated is None:
                configuration = self._configuration(is_client=False)
                configuration.load_cert_chain(self._identity.certificate_pem, self._identity.key_pem)
                self._quic = _Engine(configuration=configuration, original_destination_connection_id=destination)
                return datagrams[index:]
        return []

    def _take_events(self) -> None:
        assert self._quic is not None
        while (event := self._quic.next_event()) is not None:
            if self.terminated is None:
                self._on_event(event)

    def _on_event(self, event: quic_events.QuicEvent) -> None:
        match event:
            case quic_events.HandshakeCompleted():
                if self.is_offerer:
                    proof = self._identity.sign(self.introduction)
                    self.send_control(control.Hello(self._identity.certificate, proof))
                    self._establish()
            case quic_events.ConnectionTerminated(error_code=code, reason_phrase=reason):
                self._on_terminated(code, reason, is_ours=event.frame_type is None)
            case quic_events.StreamDataReceived(stream_id=stream_id, data=data) if stream_id == CONTROL_STREAM:
                self._on_control(data)
            case _ if self.established:
                self._deliver(event)
            case _:
                self._keep(event)

    def _on_terminated(self, code: int, reason: str, *, is_ours: bool) -> None:
        """Take the engine's word that the connection is over; `is_ours` tells whether an application has closed it.

        Whoever carries datagrams can end a handshake, with whatever code and words (RFC 9001 section 5.2): so before
        both sides have proved themselves neither counts. Codes of the transport are not those of this module.
        """
        if not self.established:
            if self.is_offerer and code == _BAD_CERTIFICATE and self._quic is not None and self._quic.closed_here:
                text = "the certificate is not the one that the ANSWER named"
                self._terminate(code, text, authentic=False, by_peer=False)
            else:
                self._terminate(PROTOCOL_VIOLATION, "the handshake was broken off", authentic=True, by_peer=False)
        elif is_ours:
            self._terminate(code, reason, authentic=code != AUTHENTICATION_FAILED, by_peer=True)
        else:
            self._terminate(PROTOCOL_VIOLATION, f"the connection broke: {reason}", authentic=True, by_peer=False)

    def _keep(self, event: quic_events.QuicEvent) -> None:
        """Keep what came before the offerer's proof; datagrams beyond the bound are lost."""
        size = EARLY_OVERHEAD
        if isinstance(event, quic_events.StreamDataReceived | quic_events.DatagramFrameReceived):
            size += len(event.data)
        if self.early_size + size <= EARLY_SIZE:
            self.early_size += size
            self._early.append(event)
        elif not isinstance(event, quic_events.DatagramFrameReceived):
            self.close(PROTOCOL_VIOLATION, "the offerer sends much and does not prove itself")

    def _on_control(self, data: bytes) -> None:
        try:
            for frame in self._control.receive(data):
                if isinstance(frame, control.Hello):
                    self._on_hello(frame)
                elif self.established:
                    self._events.append(Control(frame))
        except control.BadFrame as error:
            self.close(PROTOCOL_VIOLATION, str(error))

    def _on_hello(self, hello: control.Hello) -> None:
        if self.is_offerer or self.established:
            self.close(PROTOCOL_VIOLATION, "HELLO came unasked")
        elif not proves(hello.certificate, hello.signature, self.introduction):
            self.close(AUTHENTICATION_FAILED, "the offerer could not prove itself")
        else:
            self._establish()
            while self._early:
                self._deliver(self._early.popleft())

    def _establish(self) -> None:
        self.established = True
        self._events.append(Established())

    def _deliver(self, event: quic_events.QuicEvent) -> None:
        match event:
            case quic_events.StreamDataReceived(data, end, stream_id):
                self._events.append(StreamData(stream_id, data, end))
            case quic_events.StreamReset(error_code=code, stream_id=stream_id):
                self._events.append(StreamAborted(stream_id, code))
            case quic_events.StopSendingReceived(error_code=code, stream_id=stream_id):
                self._events.append(StreamStopped(stream_id, code))
            case quic_events.DatagramFrameReceived(data=data):
                self._events.append(Datagram(data))
            case quic_events.PingAcknowledged():
                self._events.append(Alive())
            case _:
                pass

    def _fail(self, reason: str) -> None:
        self._terminate(PROTOCOL_VIOLATION, reason, authentic=True, by_peer=False)

    def _terminate(self, code: int, reason: str, *, authentic: bool, by_peer: bool) -> None:
        if self.terminated is None:
            self.terminated = Terminated(code, reason, authentic, by_peer)
            self._events.append(self.terminated)


def warm_up() -> None:
    """Do once what the first handshake of a process would do: its cryptography gathers entropy for 40 ms (measured)."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[ALPN], server_name="visavis")
    QuicConnection(configuration=configuration).connect(_ADDRESS, 0.0)


def _welcoming(extension: bytes) -> bytes:
    """Return a QUIC transport parameters extension that allows datagrams of PAYLOAD_MAX bytes."""
    parameters = pull_quic_transport_parameters(Buffer(data=extension))
    parameters.max_udp_payload_size = PAYLOAD_MAX
    buffer = Buffer(capacity=len(extension) + 16)
    push_quic_transport_parameters(buffer, parameters)
    return buffer.data


def _initial_destination(datagram: bytes) -> bytes | None:
    """Return the destination connection id of a client's first packet, None for anything else (RFC 9000 17.2.2)."""
    if len(datagram) < DATAGRAM_SIZE or datagram[0] & _INITIAL_MASK != _INITIAL or datagram[1:5] != b"\0\0\0\1":
        return None
    size = datagram[5]
    return datagram[6 : 6 + size] if 8 <= size <= 20 else None
