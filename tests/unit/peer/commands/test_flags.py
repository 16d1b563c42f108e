"""Each setting of an agent is a flag, a variable and a key of the file, and arrives as what it is."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest

from visavis_peer.commands.main import read_arguments
from visavis_peer.commands.options import agent_settings
from visavis_peer.commands.sources import SETTINGS, fill_in
from visavis_peer.commands.verbs import VERBS, parser_of
from visavis_peer.errors import UsageError
from visavis_peer.settings import FLAGS, AgentSettings

VALUES: Final[dict[str, tuple[str, Any]]] = {
    "server": ("https://h.example", "https://h.example"),
    "room": ("den", "den"),
    "name": ("ann", "ann"),
    "token": ("let-me-in", "let-me-in"),
    "proxy": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "relay": ("only", "only"),
    "port_mapping": ("never", "never"),
    "probing": ("never", "never"),
    "stun": ("stun.example:5", ("stun.example:5",)),
    "interfaces": ("lo", ("lo",)),
    "port": ("5000", 5000),
    "report": ("off", False),
    "patience": ("12.5", 12.5),
    "connect_timeout": ("2.5", 2.5),
}
"""What is said of each field, and what it then is."""


def settings_of(arguments: list[str], environment: dict[str, str]) -> AgentSettings:
    parsed = read_arguments(["agent", *arguments])
    fill_in(parsed, environment)
    return agent_settings(parsed)


def test_every_field_but_the_secret_can_be_said() -> None:
    assert {each.name for each in fields(AgentSettings)} - FLAGS.keys() == {"secret"}
    assert VALUES.keys() == FLAGS.keys()


@pytest.mark.parametrize("field", FLAGS)
def test_a_flag_a_variable_and_a_key_say_the_same(field: str, tmp_path: Path) -> None:
    said, expected = VALUES[field]
    setting, file = FLAGS[field], tmp_path / "visavis.toml"
    place = ["--server", "https://other.example", "--room", "other"]
    for name in {"server", "room"} & {field}:
        place = [*place[2:]] if name == "server" else [*place[:2]]
    file.write_text(f"{setting.name} = {json.dumps(said)}\n")
    for arguments, environment in (
        ([*place, setting.flag, *([] if setting.is_switched_off else [said])], {}),
        (place, {setting.variable: said}),
        ([*place, "--config", str(file)], {}),
    ):
        assert getattr(settings_of(arguments, environment), field) == expected


WRONG: Final = {
    "room": " r",
    "name": "n" * 65,
    "token": "a b",
    "relay": "maybe",
    "port_mapping": "maybe",
    "probing": "maybe",
    "stun": "host:port",
    "port": "80",
    "report": "perhaps",
    "patience": "-1",
    "timeout": "0",
    "proxy": "ftp://x",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_told_with_its_source(name: str, tmp_path: Path) -> None:
    file = tmp_path / "visavis.toml"
    file.write_text(f"{name} = {json.dumps(WRONG[name])}\n")
    place = ["--server", "https://h.example", *([] if name == "room" else ["--room", "r"])]
    variable = f"VISAVIS_{name.upper()}"
    for source, arguments, environment in (
        (variable, place, {variable: WRONG[name]}),
        (f"{file}: {name}", [*place, "--config", str(file)], {}),
    ):
        with pytest.raises(UsageError) as caught:
            settings_of(arguments, environment)
        assert str(caught.value).startswith(f"{source}: ")


def test_an_empty_room_or_server_is_none() -> None:
    assert settings_of(["--server", "https://h.example", "--room", "r"], {"VISAVIS_ROOM": ""}).room == "r"
    parsed = read_arguments(["pipe"])
    fill_in(parsed, {"VISAVIS_ROOM": "", "VISAVIS_SERVER": ""})
    assert (parsed.server, parsed.room) == (None, None)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_each_verb_takes_the_flags_that_concern_it(verb: Any) -> None:
    actions = {action.dest: action for action in parser_of(verb)._actions}  # noqa: SLF001 -- argparse lists them nowhere
    groups = {"": True, "room": verb.needs_room, "links": verb.links}
    for setting in FLAGS.values():
        assert (setting.name in actions) == groups[setting.group], setting.name
    for name in {each.name for each in SETTINGS} & actions.keys():
        assert actions[name].help, f"{name} is explained"
        assert actions[name].default is None, f"{name} leaves room for what is farther away"
