"""What a person sees of a pipe, a ping and an agent: little, each thing once, and in plain words."""

from __future__ import annotations

import asyncio
import fcntl
import re
import struct
import termios
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import DEADLINE, end, next_line, read_invite, run, start, url
from tests.support.conditions import until
from tests.support.server_running import server_process
from tests.support.terminal import at_terminal, exit_code, terminal
from visavis_shared.invite import Invite

pytestmark = pytest.mark.timeout(90)

LO: Final = ("--interface", "lo")
PIPE: Final = asyncio.subprocess.PIPE
JARGON: Final = re.compile(
    r"host-host|srflx|candidate|STUN|unknown|mapping|filtering|poisonable|offerer|answerer|ssl:default|reset the stream"
    r"|relay server|\[\["
)
"""What belongs to `-v`."""
CONNECTED: Final = (
    r"connected to the other side (directly|through the relay while a direct path is looked for), authenticated"
)


async def test_a_pipe_tells_of_the_invite_the_wait_the_link_and_what_was_carried_and_nothing_else() -> None:
    async with server_process() as server:
        maker = await start("pipe", *LO, "--server", url(server), stdin=PIPE)
        try:
            invite = await read_invite(maker)
            await next_line(maker.stderr, b"waiting for the other side (Ctrl-C to stop)")
            joiner = await start("pipe", *LO, stdin=PIPE, VISAVIS_INVITE=invite)
            try:
                assert joiner.stderr is not None
                first = (await joiner.stderr.readline()).decode()
                ours, theirs = await asyncio.gather(maker.communicate(b"x" * 1500), joiner.communicate(b""))
            finally:
                await end(joiner)
        finally:
            await end(maker)
        assert (maker.returncode, joiner.returncode) == (0, 0)
        for told, sent, received in (
            (ours[1].decode(), "1.5 kB", "0 bytes"),
            (first + theirs[1].decode(), "0 bytes", "1.5 kB"),
        ):
            done = rf"done: {sent} sent, {received} received in [0-9.]+ s, (direct|through the relay)"
            assert re.fullmatch(rf"{CONNECTED}\n(the link goes directly now\n)?{done}\n", told), told
            assert not JARGON.search(told)


async def test_with_v_the_rest_is_told_as_well() -> None:
    async with server_process() as server:
        place = (*LO, "--server", url(server), "--room", "r")
        agent = await start("agent", *place, "-v")
        try:
            await next_line(agent.stdout, b"in room r with")
            code, output, _ = await run("ping", *place, "-c", "1", "-v")
            assert code == 0
            assert "checking paths" in output
            assert re.search(
                r"^1: [0-9.]+ ms, (direct host-host, |through the server's relay at)", output, re.MULTILINE
            )
        finally:
            await end(agent)


async def test_a_link_that_goes_direct_says_so_last() -> None:
    async with server_process() as server:
        maker = await start("pipe", *LO, "--server", url(server), stdin=PIPE)
        try:
            invite = await read_invite(maker)
            joiner = await start("pipe", *LO, stdin=PIPE, VISAVIS_INVITE=invite)
            try:
                await asyncio.gather(
                    next_line(maker.stderr, b"directly"),
                    next_line(joiner.stderr, b"directly"),
                )
            finally:
                await end(joiner)
        finally:
            await end(maker)


async def test_progress_is_shown_at_a_terminal_only_and_goes_away() -> None:
    async with server_process() as server, terminal() as screen:
        maker = await start("pipe", *LO, "--server", url(server), stdin=PIPE)
        try:
            file = await read_invite(maker)
            assert maker.stdin is not None
            async with at_terminal(screen, "pipe", *LO, stdin=PIPE, stdout=PIPE) as joiner:
                await screen.shows(b"not shown")
                screen.type(f"{file}\n")
                assert joiner.stdout is not None
                reading = asyncio.create_task(joiner.stdout.read())
                maker.stdin.write(b"y" * 2_000_000)
                await screen.shows(b"2.0 MB received, ")
                assert re.search(rb"\r0 bytes sent, [0-9.]+ [kM]?B received, [0-9.]+ [a-zA-Z]+/s\x1b\[K", screen.shown)
                maker.stdin.close()
                assert joiner.stdin is not None
                joiner.stdin.close()
                assert len(await reading) == 2_000_000
                assert await exit_code(joiner) == 0
                await screen.shows(b"\r\x1b[Kdone: 0 bytes sent, 2.0 MB received")
            assert maker.stderr is not None
            async with asyncio.timeout(DEADLINE):
                assert b"\r" not in await maker.stderr.read()
        finally:
            await end(maker)


async def test_a_server_that_goes_and_comes_back_is_told_once_each_on_lines_of_their_own(tmp_path: Path) -> None:
    """However often it is tried in between, and whatever the line says on which progress is shown."""
    record = tmp_path / "events"
    async with server_process() as server, terminal() as screen:
        ann = await start("pipe", *LO, "--server", url(server), stdin=PIPE)
        try:
            invite = await read_invite(ann)
            async with at_terminal(screen, "pipe", *LO, "--events", str(record), stdin=PIPE, stdout=PIPE) as bob:
                await screen.shows(b"not shown")
                screen.type(f"{invite}\n")
                assert ann.stdin is not None
                assert bob.stdin is not None
                ann.stdin.write(b"first")
                await screen.shows(b"5 bytes received, 0 bytes/s")
                server.process.kill()
                await until(lambda: record.read_text().count("signaling_lost") >= 4, DEADLINE)
                async with server_process("--port", str(server.port)):
                    await until(lambda: b"the signaling server is back" in screen.shown, DEADLINE)
                    for process in (ann, bob):
                        assert process.stdin is not None
                        process.stdin.close()
                    assert [await exit_code(bob), await exit_code(ann)] == [0, 0]
                await screen.shows(b"done: ")
        finally:
            await end(ann)
        told = [line.rpartition(b"\r\x1b[K")[2] for line in screen.shown.split(b"\r\n")]
        assert sum(b"trying again" in line for line in told) == 2  # that it has closed, and that it is not there
        assert sum(b"is back" in line for line in told) == 1
        assert not any(b"bytes/s" in line for line in told)


async def test_progress_keeps_to_one_line_and_out_of_what_is_typed_and_read() -> None:
    async with server_process() as server, terminal() as narrow, terminal() as typing:
        fcntl.ioctl(narrow.inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
        async with at_terminal(narrow, "pipe", *LO, "--server", url(server), stdin=PIPE, stdout=PIPE) as maker:
            await narrow.shows(b"waiting")
            (invite,) = re.findall(rb"http://\S+#\S+", narrow.shown)
            async with at_terminal(typing, "pipe", *LO) as joiner:
                await typing.shows(b"not shown")
                typing.type(f"{invite.decode()}\n")
                assert maker.stdin is not None
                assert maker.stdout is not None
                await typing.shows(b" received, ")  # for nobody has typed yet, and nothing has come
                maker.stdin.write(b"half a line")
                await typing.shows(b"half a line")
                typing.type("back\n")
                async with asyncio.timeout(DEADLINE):
                    assert await maker.stdout.readline() == b"back\n"
                await narrow.shows(b"\r11 bytes sent, 5 by\x1b[K\r11 bytes sent, 5 by\x1b[K")
                maker.stdin.close()
                typing.type("\x04")
                assert [await exit_code(maker), await exit_code(joiner)] == [0, 0]
                await typing.shows(b"done: ")
        assert b" received, " not in typing.shown.partition(b"half a line")[2].partition(b"done: ")[0]
        assert typing.shown.partition(b"half a line")[0].endswith(b"\r\x1b[K")


async def test_a_wrong_secret_is_told_once_in_words_that_help() -> None:
    async with server_process() as server:
        right, wrong = (str(Invite(url(server), "r", bytes([number] * 16))) for number in (1, 2))
        agent = await start("agent", *LO, VISAVIS_INVITE=right)
        try:
            await next_line(agent.stdout, b"in room r")
            code, output, errors = await run("ping", *LO, VISAVIS_INVITE=wrong)
            assert code == 6
            assert (output + errors).count("the secret does not match: was the invite copied whole?") == 1
            assert "visavis: the secret does not match" in errors
            told = await next_line(agent.stdout, b"secret")
            assert told == b"the signaling server says: somebody has tried to come in with a wrong secret\n"
        finally:
            await end(agent)


async def test_who_waits_with_an_invite_sees_that_somebody_has_tried_a_wrong_one() -> None:
    async with server_process() as server:
        maker = await start("pipe", *LO, "--server", url(server), stdin=PIPE)
        try:
            invite = Invite.parse(await read_invite(maker))
            wrong = str(Invite(invite.server, invite.room, bytes(16)))
            for _ in range(3):  # within a minute: one line
                code, _, errors = await run("pipe", *LO, "--name", "eve", given=b"", VISAVIS_INVITE=wrong)
                assert code == 6, errors
            maker.terminate()
            assert maker.stderr is not None
            seen = (await maker.stderr.read()).decode()
        finally:
            await end(maker)
        assert seen.count("somebody has tried to come in with a wrong secret\n") == 1
        assert seen.count("wrong secret") == 1
        assert "eve" not in seen


async def test_an_agent_in_a_room_with_a_secret_calls_no_good_peer_unauthenticated() -> None:
    async with server_process() as server:
        invite = str(Invite(url(server), "r", bytes(16)))
        seen = b""
        ann = await start("agent", *LO, VISAVIS_INVITE=invite)
        try:
            await next_line(ann.stdout, b"in room r with 0 other peers")
            bob = await start("agent", *LO, "--name", "bob", VISAVIS_INVITE=invite)
            try:
                for part in (b" is here", b"connected to bob ("):
                    seen += await next_line(ann.stdout, part)
                bob.terminate()
                while b" down: closed by the peer" not in seen:
                    seen += await next_line(ann.stdout, b"bob (")
            finally:
                await end(bob)
        finally:
            await end(ann)
        assert b"unauthenticated" not in seen
        assert not JARGON.search(seen.decode())


@pytest.mark.parametrize("verb", [("pipe",), ("ping", "--room", "r")], ids=["pipe", "ping"])
async def test_who_has_mistyped_the_server_sees_so_at_once(verb: tuple[str, ...]) -> None:
    """Not only after the half minute in which it is tried again."""
    process = await start(*verb, *LO, "--server", "http://nobody.invalid")
    try:
        stream = process.stderr if verb == ("pipe",) else process.stdout
        line = await next_line(stream, b"cannot reach")
        assert re.fullmatch(
            rb"cannot reach http://nobody\.invalid: its name cannot be looked up \(.+\):"
            rb" no network, or a mistake in the name; trying again\n",
            line,
        )
        assert process.returncode is None
    finally:
        await end(process)


async def test_who_has_mistyped_an_interface_is_told_so_and_linked_by_the_relay() -> None:
    async with server_process() as server:
        invite = str(Invite(url(server), "r", bytes(16)))
        ann = await start("agent", *LO, VISAVIS_INVITE=invite)
        try:
            code, output, _ = await run("ping", "--interface", "nope0", "--count", "1", VISAVIS_INVITE=invite)
            assert code == 0
            assert output.count("this machine has no interface nope0 (--interface)\n") == 1
            assert "through the relay" in output
        finally:
            await end(ann)
        code, output, _ = await run("discover", "--server", url(server), "--interface", "nope0", "--timeout", "1")
        assert code == 7
        assert "nope0: this machine has no such interface\n" in output


async def test_who_asks_for_somebody_else_sees_who_is_there_as_they_have_proved_themselves() -> None:
    async with server_process() as server:
        invite = str(Invite(url(server), "r", bytes(16)))
        ann = await start("agent", *LO, "--name", "ann", VISAVIS_INVITE=invite)
        try:
            await next_line(ann.stdout, b"in room r")
            code, output, errors = await run("ping", *LO, "--peer", "bob", "--timeout", "3", VISAVIS_INVITE=invite)
            assert code == 4
            # that there is a link to somebody else would read like success
            assert output == "looking for bob in the room (Ctrl-C to stop)\n"
            missed = r"bob was not found in the room within 3 s; in the room: ann \([0-9a-f]{16}\)"
            assert re.fullmatch(rf"visavis: {missed}\n", errors)
            code, output, errors = await run("ping", *LO, "--peer", "ann", "-c", "1", VISAVIS_INVITE=invite)
            assert (code, errors) == (0, "")
            assert re.search(
                r"^connected to ann \(.+^1: .+^1 of 1 came back from ann", output, re.MULTILINE | re.DOTALL
            )
        finally:
            await end(ann)


async def test_a_server_that_is_not_there_is_told_in_plain_words() -> None:
    code, _, errors = await run("ping", *LO, "--server", "http://127.0.0.1:1", "--room", "r", "--timeout", "0.5")
    assert code == 5
    assert not JARGON.search(errors)
