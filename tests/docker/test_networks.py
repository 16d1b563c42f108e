"""Agents in networks of their own, behind routers that are containers."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.docker.engine import Composition

pytestmark = pytest.mark.timeout(600)  # the first test also builds the images

ROUTERS: Final = {"alice": "198.51.100.21", "bob": "198.51.100.22"}
"""Public address of the router before each agent."""


def assert_direct(link: dict[str, Any], other: str) -> None:
    assert link["name"] == other
    assert link["kind"].rpartition("-")[2] in ("srflx", "prflx")
    assert link["remote"].rpartition(":")[0] == ROUTERS[other]


def test_two_agents_behind_nats_link_directly_and_notice_when_one_leaves(networks: Composition) -> None:
    alice, bob = networks.service("agent_a"), networks.service("agent_b")
    for agent, name in ((alice, "alice"), (bob, "bob")):
        endpoint = agent.wait_event("endpoint")
        assert (endpoint["ip"], endpoint["nat"]["nat"]) == (ROUTERS[name], True)

    assert_direct(alice.wait_event("link_up", "path", path="direct"), "bob")
    assert_direct(bob.wait_event("link_up", "path", path="direct"), "alice")
    assert alice.wait_event("data")["text"] == "hi from bob"
    assert bob.wait_event("data")["text"] == "hi from alice"

    networks.compose("stop", "--timeout", "5", "agent_b")
    assert alice.wait_event("peer_left")["name"] == "bob"
    assert alice.wait_event("link_down")["name"] == "bob"
