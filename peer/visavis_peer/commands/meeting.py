"""Meeting one peer: what `ping` and `pipe` do before they do their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from visavis_peer.agent import Agent
from visavis_peer.commands.narrator import Narrator
from visavis_peer.commands.output import linked_label, plainly, qualified_label
from visavis_peer.core.retrying import reason_alone
from visavis_peer.errors import AgentError, AuthenticationFailed, NoPath, PeerAbsent, Refused, UsageError
from visavis_peer.events import NO_INTERFACE, RELAY_NOT_USED, SIGNALING_LOST, Event, Failure, Joined
from visavis_shared.ids import printable
from visavis_shared.tasks import end, own

if TYPE_CHECKING:
    from visavis_peer.link.link import Link

NAMESAKE_PATIENCE: Final = 0.5
"""Seconds from the link to a peer that was asked for by name to those to others who may have the same one: links to all
who are there begin at once."""
_FATAL: Final[dict[str, type[AgentError]]] = {
    "no_path": NoPath,
    "refused": Refused,
    AuthenticationFailed.name: AuthenticationFailed,
}


@contextlib.asynccontextmanager
async def in_room(agent: Agent, events: AsyncIterator[Event], narrator: Narrator) -> AsyncIterator[None]:
    """Enter the room of an agent, telling what keeps it from that as it tries, and leave it after the block.

    Raises what entering the agent raises, of which nothing is told.
    """
    telling = own(_tell_of_attempts(events, narrator), bears=(OSError,))
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(agent)
        finally:
            await end(telling)
        yield


async def _tell_of_attempts(events: AsyncIterator[Event], narrator: Narrator) -> None:
    """Print events until the room is entered: what is told after that is of the others in it."""
    async for event in events:
        if isinstance(event, Failure) and event.error not in (SIGNALING_LOST, NO_INTERFACE, RELAY_NOT_USED):
            return
        narrator.event(event)
        if isinstance(event, Joined):
            return


async def meet(
    agent: Agent,
    events: AsyncIterator[Event],
    narrator: Narrator,
    *,
    wanted: str | None = None,
    timeout: float | None = None,
    began: float | None = None,
    patient: bool = False,
) -> Link:
    """Return the link to the peer called `wanted` (name or id; None: the first one), printing events meanwhile.

    With `patient` a peer that fails is not the end: another one may come; nor is a direct path that was not found where
    there is a relay. Raises what made it impossible, or after `timeout` seconds what kept the peers apart: PeerAbsent
    if nothing is known of that. The seconds count from `began`, by the loop's clock.
    """
    failures: list[AgentError] = []
    spent = 0.0 if began is None else asyncio.get_running_loop().time() - began
    left = None if timeout is None else max(0.0, timeout - spent)
    watch = asyncio.create_task(_watch(agent, events, wanted, narrator, failures, patient=patient))
    search = asyncio.create_task(_find(agent, wanted))
    try:
        await asyncio.wait([watch, search], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if search.done():
            return search.result()
        if watch.done():
            raise watch.result()
    finally:
        await end(watch, search)
    for failure in failures:
        if isinstance(failure, AuthenticationFailed):
            raise failure
    if failures:
        raise failures[-1]
    sealed = agent.settings.secret is not None
    labels = {
        info.peer_id: qualified_label(info.peer_id, None if sealed else info.display_name, False)
        for info in agent.members
    }
    labels |= {link.peer_id: linked_label(link) for link in agent.linked}
    seen = ", ".join(labels.values())
    missed = "no link to any peer" if wanted is None else f"{wanted} was not found in the room"
    raise PeerAbsent(f"{missed} within {timeout:g} s; in the room: {seen or 'nobody else'}")


def _may_pass(failure: AgentError, agent: Agent) -> bool:
    """Whether a link may come up all the same.

    What cannot be trusted may be anybody's: who waits is not sent away by it. A wrong secret of one's own shows when
    the room is joined.
    """
    return isinstance(failure, AuthenticationFailed) or (isinstance(failure, NoPath) and agent.has_relay)


async def _find(agent: Agent, wanted: str | None) -> Link:
    """Return the link to the peer called `wanted`, None: the first one.

    Raises UsageError where several are called so, or why the agent has ended.
    """
    links = agent.links()
    async for link in links:
        if wanted in (None, link.peer_id, link.fingerprint):
            return link
        if wanted == link.name:
            if agent.settings.secret is not None:  # names are sealed, and show with the links
                with contextlib.suppress(TimeoutError, StopAsyncIteration):
                    async with asyncio.timeout(NAMESAKE_PATIENCE):
                        while len(agent.linked) < len(agent.members):
                            await anext(links)
            _check_alone(link, agent)
            return link
    raise await _end_of(agent)


def _check_alone(link: Link, agent: Agent) -> None:
    """See to it that nobody else has the name of a link's peer.

    Raises UsageError that says how to choose.
    """
    choices = {link.peer_id: link.fingerprint}
    if agent.settings.secret is None:
        choices |= {info.peer_id: info.peer_id for info in agent.members if info.display_name == link.name}
    choices |= {each.peer_id: each.fingerprint for each in agent.linked if each.name == link.name}
    if len(choices) > 1:
        named = " or ".join(f"--peer {printable(each)}" for each in choices.values())
        raise UsageError(f"{len(choices)} in the room are called {printable(link.name or '')}; choose one: {named}")


async def _end_of(agent: Agent) -> AgentError:
    """Return why an agent has ended by itself."""
    try:
        await agent.wait_finished()
    except AgentError as error:
        return error
    return PeerAbsent("the agent was closed")


async def _watch(
    agent: Agent,
    events: AsyncIterator[Event],
    wanted: str | None,
    narrator: Narrator,
    failures: list[AgentError],
    *,
    patient: bool,
) -> AgentError:
    """Print events until one says that the link will not come, and return that."""
    async for event in events:
        failure = _failure(event, wanted, agent)
        ends = failure is not None and not patient and not _may_pass(failure, agent)
        narrator.event(event, quiet=ends)
        if failure is not None:
            if ends:
                return failure
            failures.append(failure)
    return await _end_of(agent)


def _failure(event: Event, wanted: str | None, agent: Agent) -> AgentError | None:
    """Return what an event means for who waits for the peer called `wanted`, if it keeps that away."""
    if not isinstance(event, Failure) or event.peer_id is None or event.error not in _FATAL:
        return None
    # whom the server calls so; a name that is sealed is known only of who has said something
    called = {info.peer_id: info.display_name for info in agent.members}.get(event.peer_id)
    if wanted not in (None, event.peer_id, event.name, called):
        return None
    label = qualified_label(event.peer_id, event.name, event.authenticated or event.error == AuthenticationFailed.name)
    reason = reason_alone(plainly(event))
    return _FATAL[event.error](reason if event.error == AuthenticationFailed.name else f"{label}: {reason}")
