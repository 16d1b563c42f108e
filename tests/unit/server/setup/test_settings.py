"""settings and configuration: bounds, precedence, and errors that say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from visavis_server.core.errors import SettingsError
from visavis_server.core.signaling.rules import Exposure
from visavis_server.setup.configuration import read_settings
from visavis_server.setup.settings import Settings, alternate_port, hub_rules


def test_the_defaults_are_as_documented() -> None:
    settings = read_settings([], {})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.stun_port, alternate_port(settings)) == ("::", 8080, 3478, 3479)
    assert (settings.ping_interval, settings.stale_timeout, settings.empty_room_ttl) == (25, 60, 300)
    assert hub_rules(settings).exposure is Exposure.SEED


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('port = 1\nping_interval = 2\nstale_timeout = 30.5\nexposure = "members"\nstun = false\n')
    environment = {"VISAVIS_PORT": "3", "VISAVIS_PING_INTERVAL": "4", "VISAVIS_STUN": "on", "OTHER": "x"}
    settings = read_settings(["--config", str(file), "--port", "5"], environment)
    assert settings.port == 5
    assert settings.ping_interval == 4
    assert settings.stale_timeout == 30.5
    assert settings.exposure is Exposure.MEMBERS
    assert settings.stun is True


def test_the_file_may_be_named_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("room_capacity = 9")
    assert read_settings([], {"VISAVIS_CONFIG": str(file)}).room_capacity == 9


@pytest.mark.parametrize(("text", "value"), [("on", True), ("off", False), ("true", True), ("0", False)])
def test_a_switch_reads_on_and_off(text: str, value: bool) -> None:
    assert read_settings(["--stun", text], {}).stun is value


def test_a_list_is_a_repeated_flag_commas_or_an_array(tmp_path: Path) -> None:
    expected = ("192.0.2.1", "192.0.2.2")
    file = tmp_path / "server.toml"
    file.write_text('stun_address = ["192.0.2.1", "192.0.2.2"]')
    arguments = ["--stun-address", "192.0.2.1", "--stun-address", "192.0.2.2"]
    assert read_settings(arguments, {}).stun_address == expected
    assert read_settings([], {"VISAVIS_STUN_ADDRESS": "192.0.2.1, 192.0.2.2"}).stun_address == expected
    assert read_settings(["--config", str(file)], {}).stun_address == expected


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["--port", "70000"], {}, "--port: Input should be less than or equal to 65535"),
        (["--port", "x"], {}, "--port: Input should be a valid integer"),
        ([], {"VISAVIS_PORT": "-1"}, "VISAVIS_PORT: Input should be greater than or equal to 0"),
        (["--exposure", "all"], {}, "--exposure: Input should be 'seed', 'members' or 'counts'"),
        (["--stun-address", "name"], {}, "--stun-address: must be an IPv4 or IPv6 address"),
        (["--ping-interval", "inf"], {}, "--ping-interval: Input should be "),
        (["--stale-timeout", "20"], {}, "stale_timeout must be longer than ping_interval"),
        (["--stun-port", "5", "--stun-alternate-port", "5"], {}, "stun_alternate_port must differ from stun_port"),
        (["--log-level", "loud"], {}, "--log-level: "),
        (["--config", "/nonexistent.toml"], {}, "cannot read /nonexistent.toml: No such file or directory"),
    ],
)
def test_an_error_says_where_the_value_came_from(
    arguments: list[str], environment: dict[str, str], expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(arguments, environment)
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("stun_prot = 1", "unknown setting 'stun_prot'; did you mean stun_port?"),
        ("stale-timeout = 1", "unknown setting 'stale-timeout'; did you mean stale_timeout?"),
        ("zzz = 1", "unknown setting 'zzz'"),
        ("port = [", "is not valid TOML"),
        ("port = 70000", "port: Input should be less than or equal to 65535"),
        ("stun_address = 'x'", "stun_address: "),
        ("\udcff", "is not valid TOML"),
    ],
)
def test_an_error_in_the_file_is_explained(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "server.toml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError) as caught:
        read_settings(["--config", str(file)], {})
    assert str(caught.value).startswith(str(file))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("addresses", "fits"),
    [
        (["192.0.2.1"], True),
        (["192.0.2.1", "192.0.2.2"], True),
        (["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"], True),
        (["0.0.0.0", "::"], True),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], False),
        (["192.0.2.1", "192.0.2.1"], False),
        (["2001:db8::1", "2001:db8:0::1"], False),
        (["0.0.0.0", "192.0.2.1"], False),
    ],
)
def test_stun_addresses_come_in_pairs_of_a_family(addresses: list[str], fits: bool) -> None:
    values: Any = {"stun_address": addresses}
    if fits:
        assert Settings.model_validate(values).stun_address == tuple(addresses)
    else:
        with pytest.raises(SettingsError, match="stun_address"):
            Settings.model_validate(values)


@pytest.mark.parametrize(
    ("port", "alternate", "expected"), [(3478, None, 3479), (0, None, 0), (65535, None, 0), (5, 9, 9), (5, 0, 0)]
)
def test_the_second_stun_port_follows_the_first(port: int, alternate: int | None, expected: int) -> None:
    assert alternate_port(Settings(stun_port=port, stun_alternate_port=alternate)) == expected


def test_a_setting_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Settings(), "port", 1)  # noqa: B010 -- mypy knows that it is frozen, too


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_end_well(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings([flag], {})
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("examples:\n  visavis-server\n" if flag == "--help" else "visavis-server 0.")


def test_the_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--help"], {})
    out = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        assert "--" + name.replace("_", "-") in out
        assert field.description, name


@pytest.mark.parametrize("arguments", [["--nope"], ["--por", "1"], ["stray"]])
def test_flags_that_do_not_exist_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(arguments, {})
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("visavis-server: unrecognized arguments: ")
    assert told.endswith(" (`visavis-server --help` lists the flags)\n")
    assert told.count("\n") == 1
