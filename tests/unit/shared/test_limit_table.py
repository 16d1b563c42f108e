"""Every limit stands in one table, and what else tells of limits says the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from scripts.lib import limits as script

from tests.support.server_running import running_server
from tests.support.ws_raw import RawClient, upgrade_request
from visavis_peer.commands.limit_table import PEER_LIMITS
from visavis_server.core.access.causes import Cause
from visavis_server.core.relay.relay import DropCause
from visavis_server.limit_table import OTHER_REFUSALS, SERVER_LIMITS
from visavis_server.setup.configuration import _described, _parser
from visavis_server.setup.settings import Settings
from visavis_shared import limits
from visavis_shared.errors import ErrorCode
from visavis_shared.limit_table import Figure, Limit
from visavis_shared.messages import RelayOffer, ServerLimits

ROOT: Final = Path(__file__).parents[3]
PROTOCOL: Final = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
OPERATIONS: Final = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
NO_LIMITS: Final = frozenset(
    {"turn_ttl", "drain_time", "ping_interval", "cleanup_interval", "otel_interval", "log_level"}
)
"""Settings with a number that bounds nobody."""


def test_the_document_has_not_drifted_from_the_code() -> None:
    command = [sys.executable, "-m", "scripts.lib.limits", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_drift_is_found_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "PATH", tmp_path / "limits.md")
    assert script.main(["--check"]) == 1, "missing"
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    (tmp_path / "limits.md").write_text(script.document().replace("10,000", "20,000", 1))
    assert script.main(["--check"]) == 1
    assert script.main(["--mend"]) == 2
    assert capsys.readouterr().err.count("run scripts/limits") == 2


def test_every_setting_that_is_a_limit_stands_in_the_table() -> None:
    named = re.compile(r"_(limit|rate|volume|sessions|capacity|timeout|grace|ttl|time|interval|level)$")
    settings = {name for name in Settings.model_fields if named.search(name)} - NO_LIMITS
    assert {each.option for each in SERVER_LIMITS if each.option} == settings


def test_every_cause_of_a_refusal_has_a_row_and_every_row_a_cause_that_exists() -> None:
    causes = {*Cause, "stun_rate", *(f"relay_{cause}" for cause in get_args(DropCause))}
    shown = [cause for each in SERVER_LIMITS for cause in each.causes] + list(OTHER_REFUSALS)
    assert set(shown) == causes
    for cause in causes:
        assert f"`{cause.removeprefix('relay_')}`" in OPERATIONS or f"`{cause}`" in OPERATIONS


def test_every_error_code_in_the_table_exists() -> None:
    for each in (*SERVER_LIMITS, *PEER_LIMITS):
        words = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", each.beyond)) - {"PEER_LEFT"}
        assert words <= set(ErrorCode), each.what


def test_every_bound_of_the_wire_stands_in_one_of_the_tables() -> None:
    shown = {figure.value for each in (*SERVER_LIMITS, *PEER_LIMITS) for figure in each.figures}
    numbers = {name: value for name, value in vars(limits).items() if name.isupper() and name != "TIMESTAMP_MAX"}
    assert len(numbers) > 10
    assert {name for name, value in numbers.items() if value not in shown} == set()


@pytest.mark.parametrize("limit", [each for each in SERVER_LIMITS if each.option], ids=lambda each: each.option)
def test_help_tells_the_same_default(limit: Limit) -> None:
    assert limit.option is not None
    flag = f"--{limit.option.replace('_', '-')}"
    actions = _parser(_described())._actions  # noqa: SLF001 -- argparse lists them nowhere else
    (action,) = [each for each in actions if flag in each.option_strings]
    told = re.findall(r"\(default: ([\d.]+)\)", action.help or "")
    assert [float(each) for each in told] == [limit.figures[0].value]


def test_the_tables_of_the_protocol_tell_the_same_defaults() -> None:
    shown = {each.option: each for each in SERVER_LIMITS if each.option}
    rows = re.findall(r"^\|[^|]+\| ([^|]+) \| `--([a-z-]+)` \|$", PROTOCOL, re.MULTILINE)
    checked = 0
    for value, option in rows:
        limit = shown.get(option.replace("-", "_"))
        if limit is not None:
            figure = "0, unlimited" if limit.shown == "no limit" else str(limit.figures[0])
            assert value in (figure, figure.removesuffix("/s")), option
            checked += 1
    assert checked >= 14


async def test_the_welcome_tells_the_same() -> None:
    async with running_server() as server, await RawClient.open(server.port) as client:
        client.write(upgrade_request())
        await client.read_response()
        welcome: dict[str, Any] = (await client.receive())["payload"]
    told = {each.welcome: each.figures[0].value for each in SERVER_LIMITS if each.welcome}
    for place, value in told.items():
        part, name = place.split(".")
        assert welcome[part][name] == value, place
    numbers = {f"limits.{name}" for name in ServerLimits.model_fields}
    numbers |= {f"relay.{name}" for name in RelayOffer.model_fields if name not in ("url", "mode", "token")}
    assert set(told) == numbers


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (Figure(64), "64"),
        (Figure(1 / 6 * 60, "a minute"), "10 a minute"),
        (Figure(0.5, "s"), "0.5 s"),
        (Figure(100, "/s"), "100/s"),
        (Figure(4 << 20, "bytes/s"), "4 MiB/s"),
        (Figure(3 << 10, "bytes to one"), "3 KiB to one"),
        (Figure(1500, "bytes"), "1,500 bytes"),
    ],
)
def test_figures_are_shown_as_people_write_them(figure: Figure, shown: str) -> None:
    assert str(figure) == shown
