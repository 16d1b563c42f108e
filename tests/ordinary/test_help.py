"""What somebody sees who has never heard of it: no verb, a wrong one, `--help`."""

from __future__ import annotations

import asyncio
import re
import shlex
from importlib.metadata import version

import pytest

from tests.support.commands import run
from tests.support.server_running import spawn
from visavis_peer.commands.main import read_arguments
from visavis_peer.commands.verbs import VERBS, Verb
from visavis_server.setup.configuration import read_settings


async def test_alone_it_lists_its_verbs_with_a_line_each() -> None:
    code, output, errors = await run()
    assert (code, output) == (2, "")
    for verb in VERBS.values():
        (line,) = [each for each in errors.splitlines() if each.split()[:1] == [verb.name]]
        assert line.endswith(f"  {verb.help}")


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
    assert all(f"  {name}  " in errors for name in VERBS)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("pipe", "--sever", "x"), "unrecognized arguments: --sever; did you mean --server?"),
        (("pipe", "one", "two\x1b[31m"), r"unrecognized arguments: two\x1b[31m"),
        (("agent", "--relay", "maybe"), "--relay: invalid choice: 'maybe' (choose from "),
    ],
)
async def test_a_wrong_flag_is_told_in_one_line_that_says_where_the_right_ones_are(
    words: tuple[str, ...], complaint: str
) -> None:
    code, output, errors = await run(*words)
    assert (code, output) == (2, "")
    assert errors.startswith(f"visavis: {complaint}")
    assert errors.endswith(f" (`visavis {words[0]} --help` lists the flags)\n")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
async def test_help_begins_with_two_examples_and_explains(verb: Verb) -> None:
    code, output, errors = await run(verb.name, "--help")
    assert (code, errors) == (0, "")
    assert output.startswith(f"examples:\n  {verb.examples[0][0]}\n")
    positions = [output.index(example) for example, _ in verb.examples]
    assert positions == sorted(positions)
    assert positions[-1] < output.index("options:")
    assert " ".join(verb.timeout.split()) in " ".join(output.split())


def test_examples_are_lines_that_can_be_given() -> None:
    for verb in VERBS.values():
        for example, _ in verb.examples:
            words = shlex.split(example.rpartition("visavis ")[2].partition(" |")[0])
            assert read_arguments(words).verb == verb.name


async def test_a_flag_in_the_place_of_a_command_is_met_by_a_hint() -> None:
    code, output, errors = await run("--json", "agent")
    assert (code, output) == (2, "")
    assert errors == "visavis: --json is a flag: a command must come first (`visavis COMMAND --help` lists its flags)\n"


async def test_help_of_the_whole_lists_the_commands() -> None:
    for flag in ("--help", "-h"):
        code, output, errors = await run(flag)
        assert (code, errors) == (0, "")
        assert all(f"  {name}  " in output for name in VERBS)
    assert await run("--version") == (0, f"visavis {version('visavis')}\n", "")


async def test_the_help_of_the_server_begins_with_two_examples_and_names_what_its_flags_take() -> None:
    process = await spawn("--help", COLUMNS="400")
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0
    examples, _, flags = output.partition("\n\nusage: visavis-server [flags]\n")
    lines = examples.splitlines()
    assert (lines[0], len(lines)) == ("examples:", 5)
    assert [line.split()[0] for line in lines[1::2]] == ["visavis-server"] * 2
    for line in lines[1::2]:
        await asyncio.to_thread(read_settings, shlex.split(line)[1:], {})
    for flag in (
        "--reuse-port on|off",
        "--proxy-protocol on|off",
        "--tls-cert FILE",
        "--turn-ttl SECONDS",
        "--resume-grace SECONDS",
        "--relay-volume BYTES",
        "--room-capacity N",
        "--allowed-origin URL",
        "--trusted-proxy ADDRESS",
    ):
        assert re.search(rf"^  {re.escape(flag)}\s", flags, re.MULTILINE), flag
    assert not re.search(r"\b[a-z]+_[a-z]+\b", flags), "flags are called as they are typed"
