"""How an invite gets from one machine to the other, as a person does it, without a secret that others can read."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import end, next_line, read_invite, run, start, url
from tests.support.conditions import until
from tests.support.server_running import ServerProcess, server_process
from tests.support.terminal import at_terminal, exit_code, terminal
from visavis_peer.commands.invites import PROMPT
from visavis_shared.invite import Invite

pytestmark = pytest.mark.timeout(90)

LO: Final = ("--interface", "lo")
SECRET: Final = bytes(range(16))


def invite_to(server: ServerProcess) -> str:
    return str(Invite(url(server), "r", SECRET))


async def test_the_line_for_the_other_machine_has_no_secret_and_pasting_the_invite_there_links() -> None:
    """The receiver's standard input is data as well: the question goes to the terminal itself."""
    async with server_process() as server, terminal() as screen:
        maker = await start("pipe", *LO, "--server", url(server), stdin=asyncio.subprocess.PIPE)
        try:
            command = (await next_line(maker.stderr, b"on the other machine")).decode()
            invite = await read_invite(maker)
            assert "run `visavis pipe`" in command
            assert "--invite-file" in command
            assert invite.partition("#")[2] not in command
            pipe = asyncio.subprocess.PIPE
            async with at_terminal(screen, "pipe", *LO, stdin=pipe, stdout=pipe) as other:
                await screen.shows(PROMPT.encode())
                assert not screen.echoes
                screen.type(f"{invite}\n")
                ours, theirs = await asyncio.gather(maker.communicate(b"there"), other.communicate(b"and back"))
                assert (ours[0], theirs[0]) == (b"and back", b"there")
                assert (maker.returncode, other.returncode) == (0, 0)
                assert screen.echoes
                assert invite.partition("#")[2].encode() not in screen.shown
        finally:
            await end(maker)


async def test_an_empty_line_is_no_invite_and_a_quoted_one_is_taken() -> None:
    async with server_process() as server, terminal() as screen:
        async with at_terminal(screen, "pipe") as process:
            await screen.shows(PROMPT.encode())
            screen.type("\n")
            assert await exit_code(process) == 2
            await screen.shows(b"visavis: no invite was given\r\n")
        async with at_terminal(screen, "ping", *LO, "--timeout", "1") as process:
            await until(lambda: screen.shown.count(PROMPT.encode()) == 2)
            screen.type(f"<{invite_to(server)}>\n")
            await screen.shows(b"waiting for the other side")
            assert await exit_code(process) == 4


async def test_an_invite_file_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    missing = tmp_path / "invite"
    assert await run("pipe", "--invite-file", str(missing)) == (
        2,
        "",
        f"visavis: cannot read the invite in {missing}: No such file or directory\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_question_that_a_signal_ends_leaves_the_terminal_as_it_was(number: signal.Signals) -> None:
    async with terminal() as screen, at_terminal(screen, "ping") as process:
        await screen.shows(PROMPT.encode())
        if number == signal.SIGINT:
            screen.type("\x03")
        else:
            process.send_signal(number)
        assert await exit_code(process) == -number
        assert screen.echoes
        assert b"Traceback" not in screen.shown


@pytest.mark.parametrize("verb", [("pipe",), ("ping",), ("agent",), ("doctor", "--with")])
async def test_without_a_terminal_it_is_said_how_to_give_an_invite(verb: tuple[str, ...]) -> None:
    code, output, errors = await run(*verb, given=b"https://h.example/r/room\n")
    assert (code, output) == (2, "")
    assert "an invite is required" in errors
    assert "--invite-file FILE or VISAVIS_INVITE" in errors


async def test_a_secret_on_the_command_line_is_taken_with_one_line_of_advice(tmp_path: Path) -> None:
    invite = str(Invite("http://127.0.0.1:1", "r", SECRET))
    file = tmp_path / "invite"
    file.write_text(invite)
    brief = (*LO, "--timeout", "0.5")
    for shown in ((*brief, invite), (*brief, "--invite-file", str(file), invite)):
        code, _, errors = await run("ping", *shown)
        assert code == 5
        assert errors.count("other users of this machine can see the secret") == 1
        assert invite.partition("#")[2] not in errors
    code, _, errors = await run("doctor", *brief, "--with", invite)
    assert (code, errors.count("other users")) == (5, 1)
    hidden = await asyncio.gather(
        run("ping", *brief, "--invite-file", str(file)),
        run("pipe", *brief, VISAVIS_INVITE=invite),
        run("agent", *brief, "-", given=f"{invite}\n".encode()),
        run("doctor", *brief, "--with", "--invite-file", str(file)),
    )
    for code, _, errors in hidden:
        assert code == 5
        assert "other users" not in errors


@pytest.mark.parametrize("verb", [("pipe",), ("ping",), ("agent",), ("doctor", "--with")])
async def test_an_invite_that_has_lost_its_secret_is_refused_at_once(verb: tuple[str, ...]) -> None:
    code, output, errors = await run(*verb, "https://h.example/r/room")
    assert (code, output) == (2, "")
    assert "the invite has no secret (the part after the #)" in errors
    assert "--insecure" in errors


async def test_who_comes_without_the_secret_of_a_room_meets_nobody_and_is_met_by_nobody() -> None:
    async with server_process() as server:
        member = await start("agent", invite_to(server), *LO, "--json")
        try:
            await next_line(member.stdout, b"joined")
            bare = invite_to(server).partition("#")[0]
            code, _, errors = await run("ping", *LO, "--timeout", "5", bare, "--insecure")
            assert code == 4, errors
            assert "in the room: nobody" in errors
            member.send_signal(signal.SIGTERM)
            assert b"peer_joined" not in (await member.communicate())[0]
        finally:
            await end(member)


async def test_what_stands_in_the_place_of_an_invite_is_met_by_the_line_that_was_meant(tmp_path: Path) -> None:
    folder, file = tmp_path / "my photos", tmp_path / "holiday.jpg"
    folder.mkdir()
    file.write_bytes(b"no invite")
    data = "a pipe takes its data from standard input"
    meant = {
        ("pipe", str(folder)): f"{data}: `tar c '{folder}' | visavis pipe --server URL`",
        ("pipe", str(file)): f"{data}: `visavis pipe --server URL < {file}`",
        ("pipe", "--server", "https://h.example", "./gone.txt"): f"{data}: `visavis pipe --server https://h.example <",
        (
            "pipe",
            "--server",
            "https://mia:sesame@h.example",
            "./a",
        ): f"{data}: `visavis pipe --server https://h.example <",
        ("pipe", "den"): "to meet in a room of that name: `visavis pipe --server URL --room den`; " + data,
        ("pipe", "https://h.example"): "to make an invite there: `visavis pipe --server https://h.example`",
        ("pipe", "h.example:8080"): "to make an invite there: `visavis pipe --server h.example:8080`",
        ("pipe", "h.example/r/den#secret"): "https:// is missing in front of it",
        ("ping", "den"): "to meet in a room of that name: `visavis ping --server URL --room den`",
        ("ping", str(file)): f"an invite in a file is given by --invite-file {file}",
        ("agent", "https://h.example/"): "to meet there: `visavis agent --server https://h.example/ --room NAME`",
        ("pipe", "https://mia:sesame@h.example"): "never holds a user name or a password",
        ("doctor", "--with", "den"): "does not look like https://host/r/room#secret\n",
    }
    ended = await asyncio.gather(*(run(*words) for words in meant))
    for (words, part), (code, output, errors) in zip(meant.items(), ended, strict=True):
        assert (code, output) == (2, ""), words
        assert part in errors, (words, errors)
        assert "sesame" not in errors
        assert "#secret`" not in errors
