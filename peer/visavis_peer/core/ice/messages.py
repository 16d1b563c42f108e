"""The STUN messages of ICE (RFC 8445 section 7): Binding requests that are checks, and their responses.

As the RFC has it: short-term credentials by MESSAGE-INTEGRITY, USERNAME, PRIORITY, ICE-CONTROLLING or ICE-CONTROLLED,
USE-CANDIDATE, XOR-MAPPED-ADDRESS, error 487, FINGERPRINT in everything that is sent.

Beside it: a request that is not signed with this side's password gets no answer, where section 7.3 of RFC 8445 and
section 9.1.3 of RFC 8489 answer with 400 or 401, so that nobody finds out by asking that an agent is here. FINGERPRINT
is not asked for in what comes in, as the first byte tells STUN from data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from visavis_shared.messages import IceCredentials
from visavis_shared.stun import Address, Class, Message, Method, NotStun, parse

ROLE_CONFLICT: Final = 487
"""Error code (RFC 8445 section 7.3.1.1)."""
_NEEDED: Final = frozenset({"MESSAGE-INTEGRITY", "USERNAME", "PRIORITY"})


@dataclass(frozen=True, slots=True)
class Check:
    """An authenticated Binding request of the peer."""

    transaction_id: bytes
    priority: int
    """Of a peer-reflexive candidate at its source, should there be no other."""
    nominates: bool
    """Whether it carries USE-CANDIDATE."""
    controlling: int | None
    """The sender's tie-breaker if it takes itself for the controlling side."""
    controlled: int | None
    """The sender's tie-breaker if it takes itself for the controlled side."""


@dataclass(frozen=True, slots=True)
class Response:
    """An authenticated response of the peer."""

    error: int | None
    """Its error code, None for success."""
    mapped: Address | None
    """This side's address as the peer sees it, where it says so."""


def check_request(
    transaction_id: bytes,
    local: IceCredentials,
    remote: IceCredentials,
    priority: int,
    tie_breaker: int,
    *,
    controlling: bool,
    nominate: bool,
) -> Message:
    """Return a check that is not signed yet (RFC 8445 section 7.1); only a controlling side may `nominate`."""
    request = Message(Method.BINDING, Class.REQUEST, transaction_id)
    request.attributes["USERNAME"] = f"{remote.ufrag}:{local.ufrag}"
    request.attributes["PRIORITY"] = priority
    request.attributes["ICE-CONTROLLING" if controlling else "ICE-CONTROLLED"] = tie_breaker
    if nominate:
        request.attributes["USE-CANDIDATE"] = None
    return request


def success_response(transaction_id: bytes, source: Address) -> Message:
    """Return the response to a check from `source`, not signed yet."""
    response = Message(Method.BINDING, Class.RESPONSE, transaction_id)
    response.attributes["XOR-MAPPED-ADDRESS"] = source
    return response


def conflict_response(transaction_id: bytes) -> Message:
    """Return the response that has the peer change its role, not signed yet."""
    response = Message(Method.BINDING, Class.ERROR, transaction_id)
    response.attributes["ERROR-CODE"] = (ROLE_CONFLICT, "Role Conflict")
    return response


def signed(message: Message, password: str) -> bytes:
    """Return a message as it is sent."""
    message.add_message_integrity(password.encode())
    return bytes(message)


def read_check(data: bytes, local: IceCredentials, remote: IceCredentials | None) -> Check | None:
    """Return a check that was sent by whoever knows the credentials of both sides, None for anything else.

    What the peer calls itself is checked once that is known (RFC 8445 section 7.3).
    """
    message = _read(data)
    if message is None or message.message_class is not Class.REQUEST or not message.attributes.keys() >= _NEEDED:
        return None
    attributes = message.attributes
    to, colon, sender = attributes["USERNAME"].partition(":")
    if not colon or to != local.ufrag or (remote is not None and sender != remote.ufrag):
        return None
    if not message.check_message_integrity(local.pwd.encode()):
        return None
    return Check(
        message.transaction_id,
        attributes["PRIORITY"],
        "USE-CANDIDATE" in attributes,
        attributes.get("ICE-CONTROLLING"),
        attributes.get("ICE-CONTROLLED"),
    )


def read_response(data: bytes, password: str) -> Response | None:
    """Return a response that is signed as its request was (RFC 8489 section 9.1.4), None for anything else."""
    message = _read(data)
    if message is None or not message.check_message_integrity(password.encode()):
        return None
    match message.message_class:
        case Class.RESPONSE:
            return Response(None, message.attributes.get("XOR-MAPPED-ADDRESS"))
        case Class.ERROR:
            return Response(message.error_code or 0, None)
        case _:
            return None


def _read(data: bytes) -> Message | None:
    try:
        message = parse(data)
    except NotStun:
        return None
    return message if message.message_method is Method.BINDING else None
