"""Hypothesis strategies for every model of the wire protocol."""

from __future__ import annotations

import ipaddress
import unicodedata
from typing import Any, Final

from hypothesis import strategies as st

from visavis_shared import limits
from visavis_shared.errors import ErrorCode
from visavis_shared.messages import (
    Ack,
    Answer,
    AnswerPayload,
    CandidateMessage,
    CandidatePayload,
    Discover,
    Endpoint,
    ErrorMessage,
    ErrorPayload,
    IceCredentials,
    Join,
    JoinPayload,
    KeepAlive,
    Leave,
    MembersPayload,
    Model,
    Offer,
    OfferPayload,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    ServerLimits,
    StunServer,
    WelcomePayload,
)
from visavis_shared.nat import Allocation, Filtering, Mapping, NatReport


def text(max_size: int, min_size: int = 0) -> st.SearchStrategy[str]:
    """Any text that is one line: nothing that JSON or UTF-8 cannot carry either."""
    characters = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))
    lines = st.text(characters, min_size=min_size, max_size=max_size)
    return lines.filter(lambda line: line == line.strip() and all(unicodedata.category(c) != "Cc" for c in line))


def as_json(model: Model) -> dict[str, Any]:
    """Return a model as the plain object that it is on the wire."""
    return model.model_dump(mode="json", exclude_none=True)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


ips = st.ip_addresses().map(str) | st.builds(ipaddress.IPv6Address, st.integers(0, 2**128 - 1)).map(str)
ports = st.integers(1, 65535)
endpoints = st.builds(Endpoint, ip=ips, port=ports)
timestamps = st.integers(-(2**63), 2**63 - 1)
peer_ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=limits.PEER_ID_LENGTH)
request_ids = st.text(st.characters(codec="utf-8"), max_size=limits.REQUEST_ID_LENGTH)
room_ids = text(limits.ROOM_ID_LENGTH, min_size=1)
session_ids = text(limits.SESSION_ID_LENGTH, min_size=1)
ice_characters = st.sampled_from("abzAZ019+/")
nat_reports = st.builds(
    NatReport,
    udp=optional(st.booleans()),
    nat=optional(st.booleans()),
    mapping=optional(st.sampled_from(Mapping)),
    filtering=optional(st.sampled_from(Filtering)),
    port_preserved=optional(st.booleans()),
    allocation=optional(st.sampled_from(Allocation)),
    allocation_step=optional(st.integers(-32768, 32767)),
    foreign_rate=optional(st.floats(0, 1e6)),
    last_port=optional(ports),
    port_bracket=optional(st.tuples(ports, ports)),
    port_block=optional(st.tuples(ports, ports).map(lambda pair: (min(pair), max(pair)))),
    hairpinning=optional(st.booleans()),
    lifetime_s=optional(st.floats(0, 86400)),
    nat_count=optional(st.integers(0, 16)),
    poisonable=optional(st.booleans()),
    probing=optional(st.booleans()),
    notes=st.lists(text(200), max_size=8).map(tuple),
)
candidate_lines = st.text(st.characters(codec="utf-8"), min_size=1, max_size=limits.CANDIDATE_LENGTH)
description: Final = {
    "ice": optional(
        st.builds(
            IceCredentials,
            ufrag=st.text(ice_characters, min_size=4, max_size=256),
            pwd=st.text(ice_characters, min_size=22, max_size=256),
        )
    ),
    "candidates": st.lists(candidate_lines, max_size=limits.CANDIDATE_COUNT).map(tuple),
    "end_of_candidates": st.booleans(),
    "nat": optional(nat_reports),
    "instance": optional(st.text(max_size=limits.SESSION_ID_LENGTH)),
    "endpoint": optional(endpoints),
    "session_id": session_ids,
}
join_payloads = st.builds(
    JoinPayload, display_name=optional(text(limits.DISPLAY_NAME_LENGTH)), endpoint=optional(endpoints)
)
peer_infos = st.builds(
    PeerInfo,
    peer_id=peer_ids,
    display_name=optional(text(limits.DISPLAY_NAME_LENGTH)),
    endpoint=optional(endpoints),
    joined_at=timestamps,
)
offer_payloads = st.builds(OfferPayload, initiator_id=optional(peer_ids), round=st.integers(0, 1000), **description)
answer_payloads = st.builds(
    AnswerPayload, accepted=st.booleans(), ready=st.booleans(), reason=optional(st.text(max_size=200)), **description
)
candidate_payloads = st.builds(
    CandidatePayload,
    session_id=session_ids,
    candidate=optional(candidate_lines),
    end_of_candidates=st.booleans(),
    ready=st.booleans(),
    nat=optional(nat_reports),
)
member_payloads = st.builds(MembersPayload, room_id=room_ids, peers=st.lists(peer_infos, max_size=4).map(tuple))
welcome_payloads = st.builds(
    WelcomePayload,
    message=st.just("connected"),
    server=optional(st.text(max_size=128)),
    observed=optional(endpoints),
    ping_interval=optional(st.floats(0, 1e6)),
    limits=optional(
        st.builds(
            ServerLimits,
            message_size=st.integers(),
            room_id_length=st.integers(),
            display_name_length=st.integers(),
            room_capacity=st.integers(),
            stale_timeout=st.floats(0, 1e6),
        )
    ),
    stun=st.lists(st.builds(StunServer, host=optional(st.text(max_size=253)), port=ports), max_size=16).map(tuple),
)
error_payloads = st.builds(
    ErrorPayload, code=st.sampled_from(ErrorCode), message=st.text(), details=optional(st.text())
)

envelope: Final = {"timestamp": optional(timestamps), "request_id": optional(request_ids)}
client: Final = {**envelope, "peer_id": optional(st.text(max_size=20))}
seq: Final = {"seq": optional(st.integers(0, 2**53))}
directed: Final = {**client, "target_id": peer_ids}

directed_messages: st.SearchStrategy[Model] = st.one_of(
    st.builds(Offer, payload=offer_payloads, **directed),
    st.builds(Answer, payload=answer_payloads, **directed),
    st.builds(CandidateMessage, payload=candidate_payloads, **directed),
)
client_messages: st.SearchStrategy[Model] = st.one_of(
    st.builds(Join, room_id=room_ids, payload=optional(join_payloads), **client),
    st.builds(Leave, **client),
    st.builds(Discover, room_id=optional(room_ids), **client),
    st.builds(KeepAlive, **client),
    directed_messages,
)
server_messages: st.SearchStrategy[Model] = st.one_of(
    st.builds(PeerJoined, peer_id=peer_ids, room_id=room_ids, payload=peer_infos, **envelope, **seq),
    st.builds(PeerLeft, peer_id=peer_ids, room_id=room_ids, **envelope, **seq),
    st.builds(PeerList, peer_id=peer_ids, room_id=room_ids, payload=member_payloads, **envelope, **seq),
    st.builds(
        Ack,
        peer_id=peer_ids,
        room_id=optional(room_ids),
        payload=optional(st.one_of(welcome_payloads, member_payloads).map(as_json)),
        **envelope,
        **seq,
    ),
    st.builds(ErrorMessage, payload=error_payloads, **envelope),
    directed_messages,
)
