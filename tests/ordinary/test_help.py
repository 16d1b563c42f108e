"""What somebody sees who has never heard of it: no verb, a wrong one, `--help`."""

from __future__ import annotations

import pytest

from tests.support.commands import run
from visavis_peer.commands import agent, discover, doctor, ping, pipe

VERBS = (agent, discover, doctor, ping, pipe)


async def test_alone_it_lists_its_verbs_with_a_line_each() -> None:
    code, output, errors = await run()
    assert (code, output) == (2, "")
    for verb in VERBS:
        (line,) = [each for each in errors.splitlines() if each.split()[:1] == [verb.NAME]]
        assert verb.HELP.split()[0] in line


@pytest.mark.parametrize(
    ("word", "meant"), [("pip", "pipe"), ("pign", "ping"), ("agnet", "agent"), ("doktor", "doctor")]
)
async def test_a_wrong_verb_is_met_by_the_right_one(word: str, meant: str) -> None:
    assert await run(word, "--server", "x") == (
        2,
        "",
        f"visavis: there is no command '{word}'; did you mean {meant}?\n",
    )


async def test_a_verb_like_no_other_is_met_by_all_of_them() -> None:
    code, output, errors = await run("xyzzy\x1b[31m")
    assert (code, output) == (2, "")
    assert "\x1b" not in errors
    assert all(verb.NAME in errors for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.NAME)
async def test_help_begins_with_two_examples_and_explains(verb: object) -> None:
    name, examples = verb.NAME, verb.EXAMPLES  # type: ignore[attr-defined]
    code, output, errors = await run(name, "--help")
    assert (code, errors) == (0, "")
    assert len(examples) == 2
    positions = [output.index(example) for example in examples]
    assert positions == sorted(positions)
    assert positions[-1] < output.index("options:")
