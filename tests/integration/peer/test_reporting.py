"""Agents tell a real server how their links turn out, and its metrics say so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.commands import end, next_event, run, start
from tests.support.conditions import until
from tests.support.scrape import Scrape, scrape
from tests.support.server_running import ServerProcess, http, joined, running_server, server_process
from tests.support.watched import linked_pair, watched
from visavis_peer.core.meeting.sealing import room_password
from visavis_peer.events import Failure
from visavis_peer.signaling import reporting
from visavis_shared.messages import ClientMessage, KeepAlive
from visavis_shared.nat import NatKind, NatReport
from visavis_shared.outcomes import OutcomePath, OutcomeReason

pytestmark = pytest.mark.timeout(30)


async def test_both_sides_of_a_direct_link_report_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "REPORT_DELAY", 0.0)
    async with running_server(stun=True, metrics_port=0) as server, linked_pair(server):
        outcomes = server.hub.counts.outcomes
        await until(lambda: outcomes.total() == 2)
        assert {key[:2] for key in outcomes} == {(OutcomePath.DIRECT, OutcomeReason.NONE)}
        found = await scrape(server)
        assert 'visavis_link_outcomes_total{local_nat="' in found.text
        assert server.hub.counts.received["KEEP_ALIVE"] == 2


async def test_what_has_not_been_reported_yet_is_said_before_leaving() -> None:
    async with running_server(metrics_port=0) as server:
        async with linked_pair(server, relay="only"):
            assert not server.hub.counts.outcomes
        await until(lambda: not server.hub.rooms.peers)
        outcomes = server.hub.counts.outcomes
        assert {key[:2] for key in outcomes} == {(OutcomePath.RELAY, OutcomeReason.RELAY_ONLY)}
        assert outcomes.total() == 2


async def test_who_does_not_want_to_reports_nothing() -> None:
    async with running_server(stun=True, metrics_port=0) as server:
        async with linked_pair(server, report=False):
            pass
        await until(lambda: not server.hub.rooms.peers)
        assert server.hub.counts.outcomes == {}
        assert server.hub.counts.received["KEEP_ALIVE"] == 0


async def test_a_link_that_fails_is_reported_with_its_reason() -> None:
    async with running_server(relay="never", metrics_port=0) as server:
        private = {"password": room_password(bytes(16), "r")}
        async with (
            watched(server, "ann", secret=bytes(16)) as ann,
            await joined(server, "r", display_name="bob", fresh="0f" * 16, private=private) as bob,
        ):
            bob.send(type="OFFER", target_id=ann.agent.peer_id, payload={"session_id": "s"})
            await until(lambda: any(getattr(e, "error", "") == "authentication_failed" for e in ann.events))
        await until(lambda: not server.hub.rooms.peers)
        keys = set(server.hub.counts.outcomes)
        assert (OutcomePath.FAILED, OutcomeReason.AUTHENTICATION_FAILED) in {key[:2] for key in keys}
        assert {key[3] for key in keys} == {NatKind.UNKNOWN}, "a description that does not open says nothing"


async def test_a_report_waits_for_its_delay_and_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "REPORT_DELAY", 0.0)
    reporter = reporting.OutcomeReporter(enabled=True)
    put: list[ClientMessage] = []
    reporter.note(Failure("no_answer", "x", "p"), NatReport())
    running = asyncio.create_task(reporter.run(put.append))
    await until(lambda: put)
    running.cancel()
    await asyncio.wait([running])
    assert [type(message) for message in put] == [KeepAlive]
    assert list(reporter.take()) == []


@pytest.mark.parametrize("value", ["perhaps", "ON"])
async def test_a_setting_that_is_neither_on_nor_off_is_refused(value: str) -> None:
    code, _, errors = await run("ping", "--server", "http://127.0.0.1:1", "--room", "r", VISAVIS_REPORT=value)
    assert code == 2
    assert "is not on or off" in errors


@pytest.mark.parametrize("line", ["report = false", 'report = "off"', "report = true"])
async def test_the_file_may_say_it_as_well(line: str, tmp_path: Path) -> None:
    file = tmp_path / "visavis.toml"
    file.write_text(line + "\n")
    arguments = ("ping", "--server", "http://127.0.0.1:1", "--room", "r", "--timeout", "0.2", "--config", str(file))
    assert (await run(*arguments))[0] == 5, "it gets as far as connecting"


async def test_the_flag_reaches_the_agent() -> None:
    async with server_process("--metrics-port", "0") as server:
        url = f"http://127.0.0.1:{server.port}"
        common = ("agent", "--server", url, "--room", "r", "--interface", "lo", "--relay", "only", "--json")
        quiet, loud = await start(*common, "--no-report"), await start(*common)
        try:
            await asyncio.gather(next_event(quiet, "link_up"), next_event(loud, "link_up"))
            for process in (quiet, loud):
                process.terminate()
                await process.communicate()
            text = await metrics_of(server)
            assert text.count("visavis_link_outcomes_total{") == 1, "of one of the two"
            assert Scrape(text)("visavis_messages_received_total", type="KEEP_ALIVE") == 1
        finally:
            for process in (quiet, loud):
                await end(process)


async def metrics_of(server: ServerProcess) -> str:
    """Return what a process tells that says in its log where."""
    line = await server.said("metrics on")
    port = int(line.rpartition(":")[2].removesuffix("/metrics"))
    return (await http(port, "/metrics")).body.decode()
