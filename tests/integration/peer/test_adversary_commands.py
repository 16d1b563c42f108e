"""What a script sees of an adversary: the exit code of the command that joins is 6, and nothing has come out."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import PIPE
from typing import Final

import pytest

from tests.integration.peer.test_adversary import SECRET, strangers_apart
from tests.support.adversary import AdversarialServer, Letter, Parcel
from tests.support.commands import DEADLINE, end, run, start
from tests.support.conditions import until
from tests.support.forgery import Forger
from tests.support.interloper import Interloper
from tests.support.watched import watched
from visavis_peer.events import LinkUp
from visavis_peer.link.identity import Identity
from visavis_shared.invite import Invite

pytestmark = pytest.mark.timeout(60)

COMMON: Final = ("--interface", "lo", "--name", "bob")


SECRET_MISMATCH: Final = re.compile("its messages cannot be trusted|without the room's secret")


def invite(server: AdversarialServer) -> str:
    return str(Invite(f"http://127.0.0.1:{server.port}", "r", SECRET))


@pytest.mark.parametrize(
    "kind", ["flip", "strip", "strip_and_describe", "invent", "rename_session", "resend_as_another"]
)
async def test_a_pipe_whose_offer_is_forged_ends_with_exit_code_6(kind: str) -> None:
    async with AdversarialServer(Forger(0, 1, f"_{kind}")) as server, watched(server, "ann", secret=SECRET) as ann:
        code, output, errors = await run("pipe", invite(server), *COMMON, "--timeout", "3", given=b"for ann only")
        assert (code, output) == (6, "")
        assert SECRET_MISMATCH.search(errors)
        assert not ann.of(LinkUp)


@pytest.mark.parametrize("kind", ["flip", "strip", "strip_and_describe", "invent"])
async def test_a_pipe_whose_answer_alone_is_forged_is_told_so_and_ends_with_exit_code_6(kind: str) -> None:
    forge = Forger(0, 1, f"_{kind}")

    def attack(letter: Letter) -> list[Letter]:
        return forge(letter) if letter.message["type"] == "ANSWER" else [letter]

    async with AdversarialServer(attack) as server, watched(server, "ann", secret=SECRET) as ann:
        code, output, errors = await run("pipe", invite(server), *COMMON, "--timeout", "8", given=b"for ann only")
        assert (code, output) == (6, "")
        assert "the ANSWER could not be authenticated" in errors
        assert not ann.of(LinkUp)


async def test_a_pipe_whose_answer_is_withheld_ends_in_time_with_exit_code_4() -> None:
    def attack(letter: Letter) -> list[Letter]:
        return [] if letter.message["type"] == "ANSWER" else [letter]

    async with AdversarialServer(attack) as server, watched(server, "ann", secret=SECRET) as ann:
        code, output, errors = await run("pipe", invite(server), *COMMON, "--timeout", "3", given=b"for ann only")
        assert (code, output) == (4, "")
        # not by the name that the server says
        assert f"no link to any peer within 3 s; in the room: {ann.agent.peer_id} (unauthenticated)" in errors
        assert not ann.of(LinkUp)


async def test_a_pipe_that_gets_what_was_sealed_for_another_ends_with_exit_code_6() -> None:
    def splice(letter: Letter) -> list[Letter]:
        return [letter.with_payload(sealed=to_cleo.payload["sealed"])]

    async with (
        AdversarialServer(sees=lambda one, other: "ann" in (one.name, other.name)) as server,
        watched(server, "ann", secret=SECRET) as ann,
        watched(server, "cleo", secret=SECRET) as cleo,
    ):
        await until(lambda: ann.links and cleo.links)
        to_cleo = server.letters[0]
        server.attack = splice
        code, output, errors = await run("pipe", invite(server), *COMMON, "--timeout", "3", given=b"for ann only")
        assert (code, output) == (6, "")
        assert SECRET_MISMATCH.search(errors)
        assert [link.name for link in ann.links] == ["cleo"]


async def test_a_ping_that_meets_only_the_adversarys_own_agent_ends_with_exit_code_6() -> None:
    async with AdversarialServer(sees=strangers_apart) as server, watched(server, "Ann", secret=bytes(16)) as impostor:
        code, output, errors = await run("ping", invite(server), *COMMON, "--timeout", "3")
        assert code == 6
        assert SECRET_MISMATCH.search(errors)
        assert "link to" not in output
        assert not impostor.of(LinkUp)


async def test_a_pipe_over_a_relay_that_ends_quic_on_itself_gets_nothing_and_says_so() -> None:
    interlopers: list[Interloper] = []

    def attack(parcel: Parcel) -> list[Parcel]:
        if not interlopers:
            interlopers.append(Interloper(server, Identity()))
        return interlopers[0](parcel)

    async with AdversarialServer(relay_attack=attack) as server:
        how = ("--interface", "lo", "--relay", "only", "--timeout", "10")
        ends = [await start("pipe", invite(server), *how, "--name", name, stdin=PIPE) for name in ("ann", "bob")]
        try:
            async with asyncio.timeout(DEADLINE):
                said = await asyncio.gather(*(each.communicate(b"for the other end") for each in ends))
        finally:
            for each in ends:
                await end(each)
        # the answerer only sees that a handshake was broken off, which anybody on the way can do
        assert sorted(each.returncode or 0 for each in ends) in ([6, 6], [6, 7])
        assert [output for output, _ in said] == [b"", b""]
        await interlopers[0].close()
