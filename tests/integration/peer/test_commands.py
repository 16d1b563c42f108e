"""`visavis` as a person or a script runs it: output, events and exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest

from tests.support.commands import DEADLINE, agent, end, next_event, next_line, run, start, url
from tests.support.conditions import until
from tests.support.server_running import server_process
from tests.support.watched import watched
from visavis_shared.invite import SECRET_SIZE, Invite

pytestmark = pytest.mark.timeout(60)


async def test_ping_measures_round_trips_to_an_agent_and_names_the_path() -> None:
    async with server_process() as server, agent(server, "--name", "ann") as ann:
        await next_event(ann, "joined")
        code, output, errors = await run(
            "ping", "--server", url(server), "--room", "r", "--interface", "lo", "-c", "2", "-i", "0", "--peer", "ann"
        )
        assert (code, errors) == (0, "")
        assert re.search(r"^2: [0-9.]+ ms, (direct|through the relay)$", output, re.MULTILINE)
        *_, last = told = [line for line in output.splitlines() if "connected to ann" in line or "came back" in line]
        assert len(told) == 2
        assert all("unauthenticated" in line for line in told)
        assert last.startswith("2 of 2 came back from ann")


async def test_ping_in_json_ends_with_a_summary() -> None:
    async with server_process() as server, agent(server, "--name", "ann") as ann:
        await next_event(ann, "joined")
        code, output, _ = await run(
            *("ping", "--server", url(server), "--room", "r", "--interface", "lo", "-c", "2", "-i", "0", "--json"),
            *("--relay", "never"),
        )
        records = [json.loads(line) for line in output.splitlines()]
        assert code == 0
        assert [record["seq"] for record in records if record["event"] == "progress"] == [1, 2]
        assert (records[-1]["event"], records[-1]["received"], records[-1]["path"]) == ("done", 2, "direct")


@pytest.mark.parametrize("sealed", [True, False])
async def test_ping_takes_neither_of_two_that_have_the_name_and_says_how_to_choose(
    sealed: bool, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("AAECAwQFBgcICQoLDA0ODw")
    secret = {"secret": bytes(range(16))} if sealed else {}
    more = ("--secret-file", str(file)) if sealed else ()
    async with (
        server_process() as server,
        watched(url(server), "ann", **secret) as first,
        watched(url(server), "ann", **secret) as second,
    ):
        await until(lambda: first.links and second.links)
        keys = [second.links[0].fingerprint, first.links[0].fingerprint]
        place = ("--server", url(server), "--room", "r", "--interface", "lo", "-c", "1", *more)
        code, output, errors = await run("ping", *place, "--peer", "ann")
        assert (code, "came back" in output) == (2, False)
        told = re.search(r"2 in the room are called ann; choose one: --peer (\w+) or --peer (\w+)\n$", errors)
        assert told is not None, errors
        if sealed:
            assert sorted(told.groups()) == sorted(keys)
        for chosen in told.groups():
            code, output, errors = await run("ping", *place, "--peer", chosen)
            assert code == 0, errors


async def test_ping_says_who_is_there_when_the_peer_is_not() -> None:
    async with server_process() as server, agent(server, "--name", "ann") as ann:
        await next_event(ann, "joined")
        code, _, errors = await run(
            "ping", "--server", url(server), "--room", "r", "--interface", "lo", "--peer", "eve", "--timeout", "1"
        )
        assert code == 4
        assert "eve was not found in the room within 1 s" in errors
        assert "ann" in errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, -signal.SIGINT)])
async def test_an_agent_that_is_stopped_leaves_at_once_and_cleanly(number: signal.Signals, code: int) -> None:
    async with server_process() as server, agent(server, "--name", "ann") as ann, agent(server, "--name", "bob") as bob:
        await next_event(ann, "link_up")
        await next_event(bob, "link_up")
        ann.send_signal(number)
        seen = [await next_event(bob, "link_down", "peer_left") for _ in range(2)]
        assert {record["event"]: record.get("reason") for record in seen} == {
            "link_down": "closed by the peer",
            "peer_left": None,
        }
        async with asyncio.timeout(DEADLINE):
            assert await ann.wait() == code
        assert ann.stderr is not None
        assert await ann.stderr.read() == b""


async def test_messages_cross_and_what_a_peer_sends_is_escaped() -> None:
    async with server_process() as server, agent(server, "--message", "\x1b[31mred") as ann:
        await next_event(ann, "joined")
        plain = await start("agent", "--server", url(server), "--room", "r", "--interface", "lo", "--message", "hi")
        said = await next_event(ann, "data")
        assert (said["text"], said["size"], said["authenticated"]) == ("hi", 2, False)
        line = await next_line(plain.stdout, b"says")
        plain.terminate()
        await plain.communicate()
        assert b"\x1b" not in line
        assert b"(unauthenticated) says: \\x1b[31mred" in line


@pytest.mark.parametrize("secret", [None, bytes(SECRET_SIZE)], ids=["without a secret", "with a secret"])
async def test_whatever_shows_a_peer_says_what_it_has_proved(secret: bytes | None) -> None:
    async with server_process() as server:
        invite = str(Invite(url(server), "r", secret))
        common = ("agent", invite, "--insecure", "--interface", "lo")
        told, recorded, bob = [await start(*common, *more) for more in ((), ("--json",), ("--name", "bob"))]
        try:
            named = [(await next_line(told.stdout, b"connected to bob")).decode()]
            records = [await next_event(recorded, "link_up")]
            while records[-1]["name"] != "bob":
                records.append(await next_event(recorded, "link_up"))
            bob.terminate()
            await bob.communicate()
            while not {"link_down", "peer_left"} <= {record["event"] for record in records}:
                records.append(await next_event(recorded, "link_up", "link_down", "peer_left"))
            while "down" not in named[-1]:
                named.append((await next_line(told.stdout, b"bob")).decode())
            for record in records:
                assert record["authenticated"] == (secret is not None) or record["event"] == "peer_left", record
            assert ("unauthenticated" in named[-1]) == (secret is None)
            if secret is None:
                assert all("unauthenticated" in line for line in named), named
        finally:
            for each in (told, recorded, bob):
                await end(each)


async def test_discover_shows_the_endpoint_and_the_interfaces() -> None:
    async with server_process() as server:
        code, output, _ = await run("discover", "--server", url(server), "--interface", "lo")
        assert code == 0
        assert output.startswith("public endpoint  127.0.0.1:")
        assert "interface used   lo 127.0.0.1" in output


async def test_discover_in_json_with_a_named_stun_server_and_a_second_opinion() -> None:
    async with server_process() as server:
        code, output, _ = await run(
            "discover", "--stun", f"127.0.0.1:{server.stun_port}", "--interface", "lo", "--classify", "--json"
        )
        endpoint, done = (json.loads(line) for line in output.splitlines())
        assert code == 0
        assert endpoint["nat"]["nat"] is False
        assert {answer["mapped"][0] for answer in done["answers"]} == {"127.0.0.1"}
        assert done["second_opinion"]["verdict"] is None
        assert "two addresses" in done["second_opinion"]["note"]


async def test_discover_classifies_with_a_server_that_has_two_addresses() -> None:
    async with server_process("--stun-address", "127.0.0.1", "--stun-address", "127.0.0.2") as server:
        code, output, _ = await run("discover", "--server", url(server), "--interface", "lo", "--classify")
        assert code == 0
        assert "endpoint-independent mapping, endpoint-independent filtering" in output
        assert "second opinion   Open Internet" in output


async def test_discover_fails_when_no_stun_server_answers() -> None:
    code, output, errors = await run("discover", "--stun", "127.0.0.1:1", "--interface", "lo")
    assert code == 7
    assert "UDP seems blocked" in output
    assert "127.0.0.1:1" in errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "usage: visavis COMMAND"),
        (("agent",), "an invite is required, or --server"),
        (("agent", "--server", "http://x"), "an invite is required, or --room"),
        (("agent", "--server", "ftp://x", "--room", "r"), "not a URL"),
        (("agent", "--server", "http://x", "--room", " r"), "white space"),
        (("agent", "--server", "http://x", "--room", "r", "--port", "80"), "port"),
        (("agent", "--server", "http://x", "--room", "r", "--message", "x" * 65_537), "65537 bytes"),
        (("agent", "--server", "http://x", "--room", "r", "--relay", "maybe"), "invalid choice: 'maybe'"),
        (("ping", "--server", "http://x", "--room", "r", "--count", "0"), "--count"),
        (("ping", "--server", "http://x", "--room", "r", "--interval", "-1"), "--interval"),
        (("ping", "--server", "http://x", "--room", "r", "--timeout", "0"), "--timeout"),
        (("discover",), "--stun HOST[:PORT] or --server URL"),
        (("discover", "--stun", "host:port"), "the port must be"),
        (("agent", "--config", "/nonexistent"), "cannot read"),
    ],
)
async def test_a_wrong_command_line_is_exit_code_2_and_says_what_is_wrong(
    arguments: tuple[str, ...], complaint: str
) -> None:
    code, _, errors = await run(*arguments)
    assert code == 2
    assert complaint in errors


async def test_no_server_is_exit_code_5() -> None:
    code, output, errors = await run(
        "ping", "--server", "http://127.0.0.1:1", "--room", "r", "--timeout", "0.2", "--json"
    )
    assert code == 5
    assert "cannot reach" in errors
    assert json.loads(output.splitlines()[-1])["exit_code"] == 5


async def test_settings_come_from_the_environment_and_the_file_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "visavis.toml"
    async with server_process() as server:
        file.write_text(f'server = "{url(server)}"\nroom = "from-file"\ninterface = ["lo"]\nname = "file"\n')
        process = await start(
            "agent", "--config", str(file), "--json", "--name", "flag", VISAVIS_ROOM="from-environment"
        )
        try:
            assert (await next_event(process, "joined"))["room"] == "from-environment"
        finally:
            process.terminate()
            await process.communicate()


async def test_an_unknown_setting_in_the_file_names_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "visavis.toml"
    file.write_text('sever = "x"\n')
    code, _, errors = await run("agent", "--config", str(file))
    assert code == 2
    assert "did you mean server?" in errors


async def test_version_is_told() -> None:
    code, output, _ = await run("--version")
    assert code == 0
    assert output.startswith("visavis 0.")


async def test_doctor_reports_and_explains_an_attempt() -> None:
    async with server_process() as server, agent(server, "--name", "ann") as ann:
        await next_event(ann, "joined")
        code, output, errors = await run("doctor", "--with", f"{url(server)}/r/r", "--insecure", "--interface", "lo")
        assert (code, errors) == (0, "")
        lines = dict(line.split("  ", 1) for line in output.splitlines() if "  " in line)
        assert "answers in" in lines["signaling"]
        assert lines["NAT"].strip() == "none before the server, which is in the same network"
        assert "ann" in lines["peer"]
        assert "unauthenticated" in lines["peer"]
        assert "direct" in lines["expected"]
        assert "own network" in lines["conclusion"]
        assert "127.0.0.1" not in output
        assert "replaced" in output


async def test_doctor_says_nothing_of_udp_where_the_server_has_no_stun() -> None:
    async with server_process("--stun", "off") as server:
        code, output, _ = await run("doctor", "--server", url(server), "--interface", "lo")
        assert code == 0
        assert re.search(
            r"^conclusion +nothing is known about this network: there was no STUN server", output, re.MULTILINE
        )
        assert "UDP" not in output
        assert "through the relay" not in output
        code, _, errors = await run("discover", "--server", url(server), "--interface", "lo")
        assert code == 2
        assert "--stun HOST" in errors


async def test_doctor_without_a_server_reports_first_and_ends_with_exit_code_5() -> None:
    code, output, errors = await run("doctor", "--server", "http://127.0.0.1:9", "--json", "--interface", "lo")
    record = json.loads(output.splitlines()[0])
    assert code == 5
    assert record["event"] == "doctor"
    assert record["nat"]["udp"] is None
    assert "no STUN server to ask" in record["conclusion"]
    assert "error" in record["signaling"]
    assert "127.0.0.1" not in output + errors


@pytest.mark.parametrize("arguments", [(), ("--with", "nonsense")])
async def test_doctor_says_what_it_needs(arguments: tuple[str, ...]) -> None:
    code, output, errors = await run("doctor", *arguments)
    assert (code, output) == (2, "")
    assert "--with" in errors
