"""RESUME without a socket: who may, what is delivered, and what the room and the senders see."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.server_world import WELCOME, Message, World
from visavis_server.core.access.guessing import RESUME_BURST
from visavis_server.core.signaling.edge import ServerFull
from visavis_server.core.signaling.mailbox import SENDER_SIZE
from visavis_server.core.signaling.rules import RESUME_GRACE
from visavis_server.core.signaling.tickets import KEY_SIZE, TICKET_LIFETIME, TicketSigner
from visavis_shared.closing import CloseCode
from visavis_shared.messages import Departure

SIGNER = TicketSigner([bytes(KEY_SIZE)])


@pytest.fixture
def world() -> World:
    return World(signer=SIGNER)


def join(world: World, peer_id: str, room_id: str = "r", **payload: Any) -> str:
    """Connect and join as a client that resumes; return its token."""
    world.connect(peer_id)
    ack = world.request(peer_id, type="JOIN", room_id=room_id, payload={"resume": True} | payload)
    return token_of(ack)


def token_of(ack: Message) -> str:
    return str(ack["payload"]["resume"]["token"])


def resume(world: World, token: str, received: int, fresh: str = "fresh", **payload: Any) -> list[Message]:
    """Resume on a new connection; return the messages that this brings."""
    if fresh not in world.hub.rooms.peers:
        world.connect(fresh)
    message = {"token": token, "received": received} | payload
    world.send(fresh, type="RESUME", request_id="r1", payload=message)
    (peer_id,) = [peer_id for peer_id, messages in world.received.items() if any_answers(messages)]
    return world.take(peer_id)


def any_answers(messages: list[Message]) -> bool:
    return any(message.get("request_id") == "r1" for message in messages)


def refused(messages: list[Message]) -> str:
    (message,) = messages
    assert message["payload"]["code"] == "UNAUTHORIZED"
    assert message["payload"]["message"] == "cannot resume"
    return str(message["payload"]["details"])


def offer(world: World, sender: str, target: str, session: str) -> None:
    world.send(sender, type="OFFER", target_id=target, request_id=session, payload={"session_id": session})


# --- what the room sees -----------------------------------------------------------------------------------------------


def test_a_peer_that_read_nothing_and_does_not_come_back_was_silent(world: World) -> None:
    join(world, "a")
    world.joined("b", "r")
    world.perform(world.hub.disconnect("a", world.now, world.now_ms, cause=Departure.SILENT))
    world.pass_time(RESUME_GRACE)
    assert [(message["type"], message["cause"]) for message in world.take("b")] == [("PEER_LEFT", "silent")]


def test_a_peer_that_comes_back_was_never_gone(world: World) -> None:
    token = join(world, "a", display_name="Alice")
    world.joined("b", "r")
    world.disconnect("a")
    world.pass_time(RESUME_GRACE - 1)
    ack, joined = resume(world, token, received=0)
    assert (ack["type"], ack["peer_id"], ack["room_id"], ack["request_id"]) == ("ACK", "a", "r", "r1")
    assert (ack["payload"]["resumed"], ack["payload"]["gap"], ack["seq"]) == (True, False, 1)
    assert [info["peer_id"] for info in ack["payload"]["peers"]] == ["a", "b"]
    assert ack["payload"]["peers"][0]["display_name"] == "Alice"
    assert (joined["type"], joined["seq"]) == ("PEER_JOINED", 2)
    assert world.take("b") == [], "neither PEER_LEFT nor PEER_JOINED"
    offer(world, "a", "b", "s")
    assert world.take("b")[0]["peer_id"] == "a"
    assert "fresh" not in world.hub.rooms.peers


def test_who_does_not_come_back_leaves_after_the_grace(world: World) -> None:
    join(world, "a")
    world.joined("b", "r")
    world.disconnect("a")
    world.pass_time(RESUME_GRACE - 0.1)
    assert world.take("b") == []
    world.pass_time(0.1)
    (left,) = world.take("b")
    assert (left["type"], left["peer_id"]) == ("PEER_LEFT", "a")
    assert list(world.hub.rooms.peers) == ["b"]


def test_who_never_asked_is_gone_at_once(world: World) -> None:
    world.joined("a", "r")
    world.joined("b", "r")
    world.take("a")
    world.disconnect("b")
    assert [message["type"] for message in world.take("a")] == ["PEER_LEFT"]


def test_who_closes_the_connection_is_gone_at_once(world: World) -> None:
    join(world, "a")
    world.joined("b", "r")
    world.perform(world.hub.disconnect("a", world.now, world.now_ms, leaving=True))
    assert [message["type"] for message in world.take("b")] == ["PEER_LEFT"]


def test_leaving_the_room_ends_it(world: World) -> None:
    token = join(world, "a")
    world.request("a", type="LEAVE")
    world.disconnect("a")
    assert "a" not in world.hub.rooms.peers
    ack, *_ = resume(world, token, received=1)
    assert ack["payload"]["gap"], "the id is given back, but nothing was kept"


def test_without_a_signer_nobody_resumes() -> None:
    world = World()
    world.connect("a")
    ack = world.request("a", type="JOIN", room_id="r", payload={"resume": True})
    assert "resume" not in ack["payload"]
    world.disconnect("a")
    assert world.hub.rooms.peers == {}
    assert refused(resume(world, SIGNER.issue("a", "r", 0, world.now_ms), received=0)) == "this server keeps nobody"


def test_peers_that_are_away_take_no_connection_from_others() -> None:
    world = World(signer=SIGNER, peer_limit=2)
    for name in ("a", "b"):
        join(world, name, name)
    world.disconnect("a")
    world.disconnect("b")
    for name in ("c", "d"):
        join(world, name, name)
    with pytest.raises(ServerFull):
        world.hub.connect("e", WELCOME, world.now, world.now_ms)
    world.disconnect("c")
    assert set(world.hub.rooms.peers) == {"b", "c", "d"}, "as many are away as may be connected; the longest makes way"


def test_the_welcome_carries_a_token_for_the_connection(world: World) -> None:
    effects = world.hub.connect("a", WELCOME, world.now, world.now_ms)
    world.received["a"] = []
    world.perform(effects)
    token = token_of(world.take("a")[0])
    world.request("a", type="JOIN", room_id="r", payload={"resume": True})
    world.disconnect("a")
    (ack,) = resume(world, token, received=0)
    assert (ack["peer_id"], ack["room_id"]) == ("a", "r")


# --- what is delivered ------------------------------------------------------------------------------------------------


def test_messages_sent_meanwhile_come_once_and_in_order(world: World) -> None:
    token = join(world, "a")
    world.joined("b", "r")
    offer(world, "b", "a", "1")
    world.disconnect("a")
    offer(world, "b", "a", "2")
    world.joined("c", "r")
    offer(world, "c", "a", "3")
    world.take("b")
    ack, *missed = resume(world, token, received=1)
    assert [(message["type"], message.get("seq")) for message in missed] == [
        ("OFFER", None),
        ("OFFER", None),
        ("PEER_JOINED", 3),
        ("OFFER", None),
    ]
    assert [message["request_id"] for message in missed if message["type"] == "OFFER"] == ["1", "2", "3"]
    assert ack["seq"] == 2, "the next event that comes has the number after it"
    assert world.take("b") == [], "no sender was told anything"
    assert world.pinged[-1] == "a"


def test_messages_lost_on_the_way_come_again_when_the_server_has_not_noticed(world: World) -> None:
    token = join(world, "a")
    world.joined("b", "r")
    world.take("a")
    offer(world, "b", "a", "1")
    offer(world, "b", "a", "2")
    world.take("a")
    _, missed = resume(world, token, received=2)
    assert missed["request_id"] == "2"
    assert world.replaced == [("a", CloseCode.REPLACED, "resumed on another connection")]
    assert world.take("b") == []


def test_the_count_starts_anew_with_every_ack_that_has_a_token(world: World) -> None:
    token = join(world, "a")
    world.joined("b", "r")
    world.disconnect("a")
    offer(world, "b", "a", "1")
    ack, _, _ = resume(world, token, received=0)
    world.disconnect("a")
    (ack,) = resume(world, token_of(ack), received=2)
    assert not ack["payload"]["gap"]


def test_the_ack_tells_how_many_of_the_clients_messages_were_taken(world: World) -> None:
    token = join(world, "a")
    world.joined("b", "r")
    offer(world, "a", "b", "1")
    offer(world, "a", "nobody", "2")
    world.send_bytes("a", b"{")
    world.disconnect("a")
    ack, *_ = resume(world, token, received=3)
    assert ack["payload"]["received"] == 3, "what is refused is taken"
    offer(world, "a", "b", "3")
    world.disconnect("a")
    (ack,) = resume(world, token_of(ack), received=0)
    assert ack["payload"]["received"] == 1


def test_a_client_that_did_not_get_the_ack_comes_again_with_its_counts_from_before(world: World) -> None:
    token = join(world, "a")
    world.joined("b", "r")
    world.take("a")
    offer(world, "a", "b", "up")
    for session in "12":
        offer(world, "b", "a", session)
    world.take("a")
    for fresh in ("first", "second", "third"):
        ack, missed = resume(world, token, received=2, fresh=fresh)
        assert not ack["payload"]["gap"]
        assert ack["payload"]["received"] == 1
        assert missed["request_id"] == "2"


def test_a_server_that_has_lost_the_count_says_none(world: World) -> None:
    token = join(world, "a")
    world.start()
    ack, *_ = resume(world, token, received=0)
    assert ack["payload"]["gap"]
    assert "received" not in ack["payload"]


def test_a_full_mailbox_is_told_to_the_sender_and_nobody_else(world: World) -> None:
    join(world, "a")
    world.joined("b", "r")
    world.joined("c", "r")
    world.take("b")
    world.disconnect("a")
    padding = "x" * 30_000
    told = []
    for number in range(SENDER_SIZE // 30_000 + 2):
        world.send("b", type="OFFER", target_id="a", request_id=str(number), payload={"session_id": padding})
        told += world.take("b")
    assert [message["request_id"] for message in told] == ["2", "3"]
    assert told[0]["payload"] == {
        "code": "PEER_NOT_FOUND",
        "message": "target peer is away",
        "details": "peer_id: a; its mailbox is full",
    }
    assert world.take("c") == []
    offer(world, "c", "a", "of a friend")
    assert world.take("c") == []


def test_a_message_that_makes_way_is_told_to_its_sender(world: World) -> None:
    join(world, "a")
    senders = ("b", "c", "d", "e", "f")
    for sender in senders:
        world.joined(sender, "r")
    for sender in senders:
        world.take(sender)
    world.disconnect("a")
    for sender in senders:
        for number in range(2):
            world.send(
                sender, type="OFFER", target_id="a", request_id=str(number), payload={"session_id": "x" * 30_000}
            )
    offer(world, "f", "a", "of a friend")
    told = {sender: [message["request_id"] for message in world.take(sender)] for sender in senders}
    assert told == {"b": ["1"], "c": [], "d": [], "e": [], "f": ["1"]}
    assert world.hub.counts.undelivered == 1


def test_what_expires_is_told_to_its_senders(world: World) -> None:
    join(world, "a")
    world.joined("b", "r")
    world.joined("c", "r")
    world.take("b")
    world.disconnect("a")
    offer(world, "b", "a", "1")
    offer(world, "c", "a", "2")
    world.disconnect("c")
    world.take("b")
    world.pass_time(RESUME_GRACE)
    error, left = world.take("b")
    assert (error["request_id"], error["payload"]["code"]) == ("1", "PEER_NOT_FOUND")
    assert error["payload"]["message"] == "message not delivered"
    assert error["payload"]["details"] == "peer_id: a; it did not come back"
    assert left["type"] == "PEER_LEFT"


def test_a_description_may_be_brought_up_to_date(world: World) -> None:
    token = join(world, "a", display_name="Alice")
    endpoint = {"ip": "192.0.2.1", "port": 5}
    ack, *_ = resume(world, token, received=0, endpoint=endpoint)
    (info,) = ack["payload"]["peers"]
    assert (info["display_name"], info["endpoint"]) == ("Alice", endpoint)


def test_space_is_given_back_however_a_peer_goes(world: World) -> None:
    assert world.hub.rooms.resumption is not None
    for end in ("leave", "close", "expire", "move", "kept"):
        join(world, "a")
        world.joined("b", "r")
        offer(world, "b", "a", "1")
        assert world.hub.rooms.resumption.space.used > 0
        match end:
            case "leave":
                world.send("a", type="LEAVE")
            case "move":
                world.send("a", type="JOIN", room_id="other")
            case "expire":
                world.disconnect("a")
                world.pass_time(RESUME_GRACE)
            case "kept":
                for _ in range(5):
                    world.pass_time(30)
                    world.hub.edge.touch("a", world.now)
                    world.hub.edge.touch("b", world.now)
                assert world.hub.rooms.peers["a"].mailbox is not None
        if end != "kept":
            world.perform(world.hub.disconnect("a", world.now, world.now_ms, leaving=True))
        world.disconnect("b")
        assert world.hub.rooms.resumption.space.used == (0 if end != "kept" else world.hub.rooms.resumption.space.used)
    assert world.hub.rooms.resumption.away == {}


# --- who may ----------------------------------------------------------------------------------------------------------


def test_a_used_token_is_refused_and_the_victim_unharmed(world: World) -> None:
    stolen = join(world, "a")
    world.disconnect("a")
    (ack,) = resume(world, stolen, received=0)
    world.hub.on_pong("a")
    assert refused(resume(world, stolen, received=0, fresh="thief")) == "the token has been used"
    assert world.replaced == [("a", CloseCode.REPLACED, "resumed on another connection")]
    assert world.request("thief", type="KEEP_ALIVE")["peer_id"] == "thief", "it goes on with its own id"
    offer(world, "a", "a2", "1")
    assert world.take("a")[0]["payload"]["code"] == "PEER_NOT_FOUND"
    world.disconnect("a")
    (again,) = resume(world, token_of(ack), received=1)
    assert again["peer_id"] == "a"


def test_a_token_whose_ack_was_lost_may_be_used_again(world: World) -> None:
    token = join(world, "a")
    world.disconnect("a")
    resume(world, token, received=0)
    world.disconnect("a")
    (ack,) = resume(world, token, received=0)
    assert ack["peer_id"] == "a"


def test_of_two_connections_the_newer_one_wins(world: World) -> None:
    token = join(world, "a")
    (ack,) = resume(world, token, received=0, fresh="second")
    assert world.replaced == [("a", CloseCode.REPLACED, "resumed on another connection")]
    world.hub.on_pong("a")
    assert refused(resume(world, token, received=0, fresh="third")) == "the token has been used"
    assert len(world.replaced) == 1
    (ack,) = resume(world, token_of(ack), received=0, fresh="fourth")
    assert ack["peer_id"] == "a"


def test_a_token_of_another_room_is_refused(world: World) -> None:
    token = join(world, "a", "first")
    world.request("a", type="JOIN", room_id="second", payload={"resume": True})
    assert refused(resume(world, token, received=0)) == "the token is for another room"


def test_wrong_tokens_cost_and_in_the_end_the_connection(world: World) -> None:
    world.connect("thief")
    for _ in range(RESUME_BURST):
        assert refused(resume(world, "wrong", received=0, fresh="thief"))
    world.send("thief", type="RESUME", request_id="r1", payload={"token": "wrong", "received": 0})
    assert world.closed["thief"] == (CloseCode.TOO_MANY, "too many wrong tokens or passwords")


def test_the_victim_is_not_shut_out_by_failures_from_its_own_address(world: World) -> None:
    token = join(world, "a")
    world.disconnect("a")
    world.connect("thief")
    for _ in range(RESUME_BURST + 1):
        world.send("thief", type="RESUME", payload={"token": "wrong", "received": 0})
    (ack,) = resume(world, token, received=0)
    assert ack["peer_id"] == "a"


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"token": "x"},
        {"received": 0},
        {"token": 5, "received": 0},
        {"token": "x", "received": -1},
        {"token": "x", "received": True},
    ],
)
def test_malformed_requests(world: World, payload: dict[str, Any]) -> None:
    world.connect("a")
    assert world.request("a", type="RESUME", payload=payload)["payload"]["code"] == "INVALID_MESSAGE"


def test_it_has_to_come_before_any_join_and_once(world: World) -> None:
    token = join(world, "a")
    world.joined("b", "r2")
    answer = world.request("b", type="RESUME", payload={"token": token, "received": 0})
    assert answer["payload"]["message"] == "RESUME comes before any JOIN"
    (ack,) = resume(world, token, received=0)
    answer = world.request("a", type="RESUME", payload={"token": token_of(ack), "received": 0})
    assert answer["payload"]["message"] == "RESUME comes before any JOIN"


def test_a_connection_cannot_resume_as_itself(world: World) -> None:
    world.connect("a")
    answer = world.request("a", type="RESUME", payload={"token": SIGNER.issue("a", "", 0, world.now_ms), "received": 0})
    assert answer["payload"]["details"] == "payload.token"


# --- after a restart --------------------------------------------------------------------------------------------------


def test_a_restarted_server_gives_the_same_ids_and_rooms_back(world: World) -> None:
    tokens = {name: join(world, name) for name in ("a", "b")}
    world.start()
    (ack,) = resume(world, tokens["a"], received=1, fresh="1", display_name="Alice")
    assert (ack["peer_id"], ack["room_id"], ack["payload"]["gap"], ack["seq"]) == ("a", "r", True, 1)
    assert ack["payload"]["peers"][0]["display_name"] == "Alice"
    (ack,) = resume(world, tokens["b"], received=0, fresh="2")
    assert [info["peer_id"] for info in ack["payload"]["peers"]] == ["a", "b"]
    (joined,) = world.take("a")
    assert (joined["type"], joined["peer_id"], joined["seq"]) == ("PEER_JOINED", "b", 2)
    world.disconnect("b")
    (ack,) = resume(world, token_of(ack), received=0, fresh="3")
    assert not ack["payload"]["gap"], "kept from the first resume on"


def test_after_a_restart_a_later_token_wins_over_an_earlier_one(world: World) -> None:
    old = join(world, "a")
    world.disconnect("a")
    (ack,) = resume(world, old, received=0)
    new = token_of(ack)
    world.start()
    resume(world, old, received=0, fresh="thief")
    world.hub.on_pong("a")
    (ack,) = resume(world, new, received=0, fresh="victim")
    world.hub.on_pong("a")
    assert ack["peer_id"] == "a"
    assert refused(resume(world, old, received=0, fresh="again")) == "the token has been used"


def test_a_token_outlives_the_grace_but_not_its_lifetime(world: World) -> None:
    token = join(world, "a")
    world.disconnect("a")
    world.pass_time(RESUME_GRACE)
    (ack,) = resume(world, token, received=0)
    assert (ack["peer_id"], ack["payload"]["gap"]) == ("a", True)
    world.disconnect("a")
    world.pass_time(TICKET_LIFETIME)
    assert refused(resume(world, token_of(ack), received=0, fresh="late")) == "the token has expired"


def test_a_used_token_stays_used_when_the_peer_is_gone(world: World) -> None:
    token = join(world, "a")
    world.disconnect("a")
    resume(world, token, received=0)
    world.hub.on_pong("a")
    world.disconnect("a")
    world.pass_time(RESUME_GRACE)
    assert refused(resume(world, token, received=0, fresh="thief")) == "the token has been used"


def test_a_full_room_is_told_and_changes_nothing() -> None:
    world = World(signer=SIGNER, room_capacity=1)
    token = join(world, "a")
    world.start()
    world.joined("b", "r")
    (error,) = resume(world, token, received=0)
    assert error["payload"]["code"] == "ROOM_FULL"
    assert world.request("fresh", type="KEEP_ALIVE")["peer_id"] == "fresh"


def test_a_connected_peer_gets_a_new_token_before_the_last_one_expires(world: World) -> None:
    token = join(world, "a")
    for _ in range(round(TICKET_LIFETIME / 2 / 50)):
        world.pass_time(50)
        world.hub.edge.touch("a", world.now)
    (refreshed,) = world.take("a")
    assert refreshed["type"] == "RESUME"
    assert refreshed["payload"]["token"] != token
    world.pass_time(0)
    assert world.take("a") == []
    world.disconnect("a")
    (ack,) = resume(world, refreshed["payload"]["token"], received=1)
    assert not ack["payload"]["gap"]


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_drain_is_told_to_who_resumes_and_bounces_what_was_kept(world: World) -> None:
    join(world, "a")
    join(world, "gone")
    world.joined("old", "r")
    offer(world, "old", "gone", "0")
    world.disconnect("gone")
    for name in ("a", "old"):
        world.take(name)
    offer(world, "old", "gone", "1")
    world.perform(world.hub.drain({"a": 250, "old": 500}, world.now_ms))
    (go_away,) = world.take("a")
    assert (go_away["type"], go_away["payload"]) == ("GOAWAY", {"reconnect_after_ms": 250})
    (bounced,) = world.take("old")
    assert (bounced["request_id"], bounced["payload"]["message"]) == ("1", "message not delivered")
    offer(world, "old", "gone", "2")
    (refusal,) = world.take("old")
    assert refusal["payload"]["details"] == "peer_id: gone; the server is about to stop"
    world.disconnect("a")
    assert world.take("old") == [], "no PEER_LEFT: it will be back on the next server"


def test_a_peer_is_seen_where_it_has_resumed_from(world: World) -> None:
    world.joined("b", "r")
    token = join(world, "a", show_seen=True)
    world.take("b")
    world.connect("fresh", address="192.0.2.7")
    resume(world, token, 0, show_seen=True)
    offer(world, "a", "b", "s")
    assert [message.get("seen") for message in world.take("b")] == ["192.0.2.7"]


def test_as_many_of_an_address_are_kept_as_it_may_have_connections_and_others_are_kept_too() -> None:
    world = World(signer=SIGNER, address_limit=3)
    join_from(world, "other", "203.0.113.1")
    world.disconnect("other")
    for number in range(5):
        join_from(world, f"ghost{number}", "192.0.2.1")
        world.disconnect(f"ghost{number}")
    assert set(world.hub.rooms.peers) == {"other", "ghost2", "ghost3", "ghost4"}
    world.pass_time(RESUME_GRACE)
    assert not world.hub.rooms.peers
    assert world.hub.rooms.resumption is not None
    assert not world.hub.rooms.resumption._away_of


def join_from(world: World, peer_id: str, address: str) -> None:
    world.connect(peer_id, address)
    world.send(peer_id, type="JOIN", room_id="r", payload={"resume": True})
