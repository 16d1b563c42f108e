"""Where the invite comes from: argument, file, standard input, prompt, environment, configuration; and which wins."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import DEADLINE, end, next_event, run, start, url
from tests.support.server_running import server_process
from visavis_peer.commands.invites import PROMPT
from visavis_peer.commands.main import read_arguments
from visavis_peer.commands.options import agent_settings
from visavis_peer.commands.sources import fill_in
from visavis_peer.errors import UsageError
from visavis_shared.invite import Invite, encode_secret

pytestmark = pytest.mark.timeout(60)

SECRET: Final = bytes(range(16))
OTHER: Final = bytes(16)


def invite(room: str) -> str:
    return str(Invite("https://h.example", room, SECRET))


def room_of(arguments: list[str], environment: dict[str, str]) -> tuple[str, bytes | None]:
    """Return which room, with which secret, `visavis agent` would join."""
    parsed = read_arguments(["agent", *arguments])
    fill_in(parsed, environment)
    settings = agent_settings(parsed)
    return settings.room, settings.secret


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """Return the path of a file for each way of saying where to meet."""
    texts = {
        "invite": f"{invite('from-file')}\n",
        "other_invite": invite("from-other-file"),
        "secret": f"{encode_secret(OTHER)}\n",
        "config_invite": f'invite = "{invite("from-config")}"\nserver = "https://h.example"\n',
        "config_room": 'server = "https://h.example"\nroom = "config-room"\n',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {name: str(tmp_path / name) for name in texts}


SERVER: Final = ["--server", "https://h.example"]


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([invite("argument")], {}, "argument"),
        (["--invite-file", "{invite}"], {}, "from-file"),
        ([], {"VISAVIS_INVITE": invite("environment")}, "environment"),
        ([], {"VISAVIS_INVITE_FILE": "{invite}"}, "from-file"),
        (["--config", "{config_invite}"], {}, "from-config"),
        # two of one place: the invite itself, then the file, then the room
        ([invite("argument"), "--invite-file", "{invite}"], {}, "argument"),
        ([invite("argument"), *SERVER, "--room", "room"], {}, "argument"),
        ([], {"VISAVIS_INVITE": invite("environment"), "VISAVIS_INVITE_FILE": "{invite}"}, "environment"),
        # flag over environment over configuration, whichever of the ways each of them uses
        ([invite("argument")], {"VISAVIS_INVITE": invite("environment")}, "argument"),
        ([invite("argument")], {"VISAVIS_INVITE_FILE": "{invite}"}, "argument"),
        (["--invite-file", "{invite}"], {"VISAVIS_INVITE": invite("environment")}, "from-file"),
        (["--invite-file", "{other_invite}"], {"VISAVIS_INVITE_FILE": "{invite}"}, "from-other-file"),
        ([*SERVER, "--room", "room"], {"VISAVIS_INVITE": invite("environment")}, "room"),
        ([*SERVER, "--room", "room"], {"VISAVIS_INVITE_FILE": "{invite}"}, "room"),
        (["--config", "{config_invite}"], {"VISAVIS_INVITE": invite("environment")}, "environment"),
        (["--config", "{config_invite}"], {"VISAVIS_INVITE_FILE": "{invite}"}, "from-file"),
        (["--config", "{config_invite}"], {"VISAVIS_ROOM": "env-room"}, "env-room"),
        (["--config", "{config_invite}", "--room", "room"], {}, "room"),
        (["--config", "{config_room}"], {}, "config-room"),
        (["--config", "{config_room}", invite("argument")], {}, "argument"),
    ],
)
def test_the_nearest_source_wins(
    arguments: list[str], environment: dict[str, str], expected: str, sources: dict[str, str]
) -> None:
    filled = [argument.format(**sources) for argument in arguments]
    room, _ = room_of(filled, {name: value.format(**sources) for name, value in environment.items()})
    assert room == expected


def test_an_invite_brings_its_secret_and_a_room_that_of_its_file(sources: dict[str, str]) -> None:
    assert room_of([invite("r")], {}) == ("r", SECRET)
    assert room_of([*SERVER, "--room", "r", "--secret-file", sources["secret"]], {}) == ("r", OTHER)
    assert room_of([*SERVER, "--room", "r"], {}) == ("r", None)
    assert room_of(["https://h.example/r/open", "--insecure"], {}) == ("open", None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([*SERVER, "--room", "r", "--secret-file", "{invite}"], "--secret-file: the secret is not 22 characters"),
        ([*SERVER, "--room", "r", "--secret-file", "/nonexistent"], "--secret-file: "),
        (["--invite-file", "{secret}"], "the invite does not look like"),
        ([invite("r")[:-1]], "was the invite copied whole?"),
        ([invite("r").partition("#")[0]], "the invite has no secret (the part after the #)"),
        ([invite("r").partition("#")[0] + "#"], "was the invite copied whole?"),
        (["https://h.example/x#" + encode_secret(SECRET)], "no /r/<room>"),
    ],
)
def test_a_bad_invite_is_said_without_its_secret(arguments: list[str], complaint: str, sources: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        room_of([argument.format(**sources) for argument in arguments], {})
    assert complaint in str(caught.value)
    assert encode_secret(SECRET)[:-1] not in str(caught.value)
    assert encode_secret(OTHER) not in str(caught.value)


async def test_agents_that_got_the_invite_in_different_ways_are_authenticated_to_each_other(tmp_path: Path) -> None:
    file = tmp_path / "invite"
    async with server_process() as server:
        text = str(Invite(url(server), "r", SECRET))
        file.write_text(text)
        waiting = await start("agent", "-", "--interface", "lo", "--json", stdin=asyncio.subprocess.PIPE)
        try:
            assert waiting.stdin is not None
            waiting.stdin.write(f"{text}\n".encode())
            assert (await next_event(waiting, "joined"))["room"] == "r"
            ping = ("ping", "--interface", "lo", "-c", "1")
            for code, output, _ in (
                await run(*ping, text),
                await run(*ping, "--invite-file", str(file)),
                await run(*ping, VISAVIS_INVITE=text),
            ):
                assert code == 0
                assert ", authenticated" in output
                assert text.partition("#")[2] not in output
        finally:
            await end(waiting)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a thing of POSIX")
async def test_a_person_at_a_terminal_is_asked_and_the_answer_is_not_shown() -> None:
    async with server_process() as server:
        text = str(Invite(url(server), "r", SECRET))
        terminal = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])",
            sys.executable, "-m", "visavis_peer", "agent", "--interface", "lo",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert terminal.stdin is not None
            assert terminal.stdout is not None
            async with asyncio.timeout(DEADLINE):
                seen = await terminal.stdout.readuntil(PROMPT.encode())
                terminal.stdin.write(f"{text}\n".encode())
                seen += await terminal.stdout.readuntil(b"in room r with")
            assert text.partition("#")[2].encode() not in seen
        finally:
            await end(terminal)


async def test_without_a_terminal_nobody_is_asked() -> None:
    code, _, errors = await run("agent", given=b"https://h.example/r/room")
    assert code == 2
    assert "an invite is required" in errors
