"""Suspended links of a whole agent: they take nobody's place, and a peer that is back has its own link again."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.commands import Process, agent
from tests.support.conditions import until
from tests.support.server_running import ServerProcess, server_process
from tests.support.watched import Watched, watched
from visavis_peer.core.link import liveness
from visavis_peer.events import LinkDown, LinkResumed, LinkSuspended, LinkUp
from visavis_peer.peers import links

SECRET = "AAECAwQFBgcICQoLDA0ODw"
LINKS = 2
"""Links that the agent keeps here."""


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServerProcess]:
    """Run a server; an agent of this process soon takes a peer for silent, and keeps two links."""
    monkeypatch.setattr(liveness, "PING_INTERVAL", 0.3)
    monkeypatch.setattr(liveness, "WATCH_INTERVAL", 0.2)
    monkeypatch.setattr(liveness, "SILENCE", 2.0)
    monkeypatch.setattr(links, "PEER_COUNT", LINKS)
    async with server_process() as running:
        yield running


async def test_the_link_suspended_longest_makes_way_for_one_that_is_up(server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    async with AsyncExitStack() as stack:
        ann = await stack.enter_async_context(watched(server, "ann", secret=bytes(range(16))))

        async def join(name: str) -> Process:
            count = len(ann.of(LinkUp))
            more = ("--secret-file", str(file), "--name", name)
            process = await stack.enter_async_context(agent(server, *more))
            await until(lambda: len(ann.of(LinkUp)) > count)
            return process

        first, second = await join("first"), await join("second")
        first.send_signal(signal.SIGSTOP)
        await until(lambda: len(ann.of(LinkSuspended)) == 1)
        second.send_signal(signal.SIGSTOP)
        await until(lambda: len(ann.of(LinkSuspended)) == 2)
        await join("third")
        await until(lambda: ann.of(LinkDown))
        assert [(event.name, event.reason) for event in ann.of(LinkDown)] == [("first", links.CROWDED_OUT)]
        second.send_signal(signal.SIGCONT)
        await until(lambda: names(ann, LinkResumed) == ["second"])
        first.send_signal(signal.SIGCONT)  # a new link, or its old one no longer: either is up again
        await until(lambda: names(ann, LinkUp).count("first") == 2)


def names(agent: Watched, kind: type[LinkUp | LinkResumed]) -> list[str]:
    return [event.name for event in agent.of(kind)]
