"""docs/protocol.md says what the code does, where that can be checked."""

from __future__ import annotations

import re
import subprocess
import time
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Final

import pytest
from pydantic import TypeAdapter

from visavis_server.core.access.auth import Authorizer
from visavis_server.core.access.causes import Cause
from visavis_server.setup.keys import read_keys
from visavis_server.setup.settings import Settings
from visavis_server.sockets.outbox import OUTBOX_COUNT, OUTBOX_SIZE
from visavis_shared import limits
from visavis_shared.errors import ErrorCode
from visavis_shared.messages import ClientMessage, MessageType, decode_server_message
from visavis_shared.nat import NatKind
from visavis_shared.outcomes import OutcomePath, OutcomeReason

TEXT: Final = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
OPERATIONS: Final = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
TESTS: Final = Path(__file__).parents[2]
NO_SETTINGS: Final = frozenset({"config"})
"""Options that are no settings."""
TRANSCRIPT: Final = re.findall(r"^[A-Z]([<>]) (.*)$", TEXT, re.MULTILINE)


def test_every_line_of_a_transcript_is_a_message_of_its_side() -> None:
    assert len(TRANSCRIPT) > 20
    from_client: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)
    for direction, line in TRANSCRIPT:
        if direction == "<":
            decode_server_message(line)
        elif '"request_id":"o2"' not in line and '"request_id":"j2"' not in line:  # the two that are refused
            from_client.validate_json(line)


def test_every_type_and_code_stands_in_it() -> None:
    shown = {re.findall('"type":"([A-Z_]+)"', line)[0] for _, line in TRANSCRIPT}
    assert shown == set(MessageType)
    for name in (*MessageType, *ErrorCode):
        assert f"`{name}`" in TEXT, name


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`--([a-z-]+)", TEXT + OPERATIONS)) - NO_SETTINGS))
def test_its_options_exist(option: str) -> None:
    assert option.replace("-", "_") in Settings.model_fields


@pytest.mark.parametrize("words", [OutcomePath, OutcomeReason, NatKind])
def test_every_word_of_a_report_stands_in_it(words: type[StrEnum]) -> None:
    section = TEXT.partition("## Reports of links")[2].partition("\n## ")[0]
    for word in words:
        assert f"`{word}`" in section


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_of_a_refusal_stands_in_the_operators_table(cause: Cause) -> None:
    assert f"`{cause}`" in OPERATIONS


def test_every_test_that_the_operators_table_names_exists() -> None:
    section = OPERATIONS.partition("## Signaling security")[2]
    named = re.findall(r"`((?:unit|integration)/[\w/]+\.py)(?:::(\w+))?`", section)
    assert len(named) > 35
    for path, name in named:
        assert re.search(rf"^(?:async )?def {name or 'test_'}", (TESTS / path).read_text(), re.MULTILINE), (path, name)
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    assert all(".py" in line for line in lines if "shown by" not in line), "each point has its test"


def test_its_way_to_a_room_token_works(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(.*?)```", OPERATIONS, re.DOTALL)
    printed = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    authorizer = Authorizer(read_keys(tmp_path / "room-secrets"))
    assert authorizer.grants(printed.strip(), "my-room", time.time_ns() // 1_000_000).create


def test_its_example_of_a_configuration_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", OPERATIONS, re.DOTALL)
    Settings.model_validate(tomllib.loads(example))


def test_its_numbers_are_the_codes() -> None:
    assert f"{limits.MESSAGE_SIZE:,} bytes" in TEXT
    assert f"nested at most {limits.NESTING_DEPTH} deep" in TEXT
    assert OUTBOX_SIZE == 1 << 20
    assert f"1 MiB, {OUTBOX_COUNT:,} messages" in TEXT
    for name, shown in (
        ("ping_interval", "25 s"),
        ("stale_timeout", "60 s"),
        ("empty_room_ttl", "300 s"),
        ("cleanup_interval", "5 s"),
        ("peer_limit", "10,000"),
        ("room_limit", "10,000"),
        ("room_capacity", "0, unlimited"),
    ):
        option = "--" + name.replace("_", "-")
        assert re.search(rf"\| {shown} \| `{option}` \|", TEXT), name
        assert Settings.model_fields[name].default == int(re.sub(r"\D", "", shown))
