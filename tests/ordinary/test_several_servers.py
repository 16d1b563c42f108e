"""Two servers behind one name: an agent that is sent to and fro says what splits its room."""

from __future__ import annotations

from tests.support.commands import agent, next_event
from tests.support.cutting_proxy import cutting_proxy
from tests.support.server_running import server_process


async def test_an_agent_that_is_sent_from_one_server_to_another_and_back_says_so() -> None:
    async with (
        server_process() as one,
        server_process() as other,
        cutting_proxy(one.port) as name,
        agent(one, "--server", f"http://127.0.0.1:{name.port}") as process,
    ):
        await next_event(process, "joined")
        name.target = other.port
        name.cut()
        assert (await next_event(process, "error"))["error"] == "signaling_lost"
        await next_event(process, "joined")
        name.target = one.port
        name.cut()
        assert (await next_event(process, "error"))["error"] == "signaling_lost"
        told = await next_event(process, "error", "joined")
        assert told["event"] == "error"
        assert told["error"] == "several_servers"
        assert "several servers" in told["message"]
