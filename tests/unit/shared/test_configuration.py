"""What is described once is a flag, a variable and a key of the file; whoever is nearest wins, and is named."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import pytest

from visavis_shared.configuration import (
    FlagParser,
    Setting,
    WrongSetting,
    add_flag,
    as_number,
    as_path,
    as_switch,
    as_text,
    as_texts,
    from_environment,
    from_file,
    from_flags,
    nearest,
    values_of,
)

SETTINGS: Final = (
    Setting(name="place", metavar="PLACE", read=as_text, is_positional=True),
    Setting(name="key_file", metavar="FILE", read=as_path, is_file=True),
    Setting(name="port", metavar="N", read=as_number(int), help="which one"),
    Setting(name="patience", read=as_number(float)),
    Setting(name="names", read=as_texts, many=True),
    Setting(name="report", read=as_switch, is_switched_off=True),
    Setting(name="relay", read=as_text, choices=("auto", "never")),
)


def parser() -> FlagParser:
    made = FlagParser("prog verb", [("prog verb", "does it")], "A program.")
    for each in SETTINGS:
        add_flag(made, each)
    made.add_argument("--config")
    return made


def read(arguments: list[str], environment: dict[str, str]) -> dict[str, object]:
    parsed = parser().parse_args(arguments)
    file = from_file(SETTINGS, parsed, environment)
    return values_of(SETTINGS, file | from_environment(SETTINGS, environment) | from_flags(SETTINGS, parsed))


EXPECTED: Final = {
    "place": "here",
    "key_file": Path("key"),
    "port": 5,
    "patience": 1.5,
    "names": ["a", "b"],
    "report": False,
    "relay": "never",
}
FLAGS: Final = [
    *("here", "--key-file", "key", "--port", "5", "--patience", "1.5", "--names", "a", "--names", "b"),
    *("--no-report", "--relay", "never"),
]
ENVIRONMENT: Final = {
    "VISAVIS_PLACE": "here",
    "VISAVIS_KEY_FILE": "key",
    "VISAVIS_PORT": "5",
    "VISAVIS_PATIENCE": "1.5",
    "VISAVIS_NAMES": "a, b",
    "VISAVIS_REPORT": "off",
    "VISAVIS_RELAY": "never",
    "PORT": "6",
}
FILE: Final = """
place = "here"
key_file = "key"
port = 5
patience = 1.5
names = ["a", "b"]
report = false
relay = "never"
"""


def test_each_source_gives_every_setting(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(FILE)
    assert read(FLAGS, {}) == EXPECTED
    assert read([], ENVIRONMENT) == EXPECTED
    assert read(["--config", str(file)], {}) == EXPECTED
    assert read([], {"VISAVIS_CONFIG": str(file)}) == EXPECTED
    assert read([], {}) == {}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_nearer_source_wins_and_a_wrong_value_farther_away_is_not_looked_at(name: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"{name} = {{}}\n")
    arguments = ["--config", str(file)]
    assert read(arguments, {f"VISAVIS_{name.upper()}": ENVIRONMENT[f"VISAVIS_{name.upper()}"]})[name] == EXPECTED[name]
    assert read([*arguments, *FLAGS], {f"VISAVIS_{name.upper()}": "gr\udcfc"})[name] == EXPECTED[name]
    with pytest.raises(WrongSetting) as caught:
        read(arguments, {})
    assert caught.value.source == f"{file}: {name}"
    assert str(caught.value).startswith(f"{file}: {name}: ")


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["--port", "x"], {}, "--port: 'x' is not a number"),
        (["--port", "5.5"], {}, "--port: '5.5' is not a number"),
        ([], {"VISAVIS_PATIENCE": ""}, "VISAVIS_PATIENCE: '' is not a number"),
        ([], {"VISAVIS_REPORT": "ON"}, "VISAVIS_REPORT: 'ON' is not on or off"),
        (["gr\udcfc"], {}, "PLACE: its bytes are not UTF-8"),
        (["--names", "a", "--names", "gr\udcfc"], {}, "--names: its bytes are not UTF-8"),
        ([], {"VISAVIS_NAMES": "a,gr\udcfc"}, "VISAVIS_NAMES: its bytes are not UTF-8"),
        (["--config", "/nonexistent"], {}, "cannot read /nonexistent: No such file or directory"),
    ],
)
def test_what_cannot_be_is_told_with_its_source(
    arguments: list[str], environment: dict[str, str], expected: str
) -> None:
    with pytest.raises(WrongSetting) as caught:
        read(arguments, environment)
    assert str(caught.value) == expected


def test_the_name_of_a_file_is_the_systems() -> None:
    assert read(["--key-file", "gr\udcfc"], {}) == {"key_file": Path("gr\udcfc")}


def test_one_name_in_the_file_is_a_list_and_a_number_there_may_stand_in_quotes(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('port = "7"\nnames = "a"\nreport = "on"\n')
    assert read(["--config", str(file)], {}) == {"port": 7, "names": ["a"], "report": True}


@pytest.mark.parametrize("value", ["7", "1.5", "true", "{}"])
@pytest.mark.parametrize("name", ["place", "key_file", "names"])
def test_what_is_not_in_quotes_is_no_text(name: str, value: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"{name} = {value}\n")
    with pytest.raises(WrongSetting, match=f"^{file}: {name}: must be text, in quotes$"):
        read(["--config", str(file)], {})


@pytest.mark.parametrize(
    ("key", "hint"), [("prot", "; did you mean port?"), ("key-file", "; did you mean key_file?"), ("zzz", "")]
)
def test_a_key_that_there_is_not_is_met_by_the_right_one(key: str, hint: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"{key} = 1\n")
    with pytest.raises(WrongSetting, match=f"^{file}: unknown setting '{key}'{hint.replace('?', '[?]')}$"):
        read(["--config", str(file)], {})


def test_help_begins_with_the_examples_and_has_each_flag() -> None:
    text = parser().format_help()
    assert text.startswith("examples:\n  prog verb\n      does it\n\nusage: prog verb ")
    for wanted in ("PLACE", "--key-file FILE", "--port N", "which one", "--no-report", "--relay {auto,never}"):
        assert wanted in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--prot", "1"], "prog: unrecognized arguments: --prot; did you mean --port?"),
        (["--relay", "maybe"], "prog: --relay: invalid choice: 'maybe' (choose from "),
        (["--port"], "prog: --port: expected one argument"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(arguments)
    told = capsys.readouterr().err
    assert (caught.value.code, told.count("\n")) == (2, 1)
    assert told.startswith(complaint)
    assert told.endswith(" (`prog verb --help` lists the flags)\n")


def test_who_is_like_nobody_is_met_by_no_question() -> None:
    assert nearest("xyz", ["port", "relay"]) == ""


def test_a_command_may_say_something_else_of_a_setting() -> None:
    made = argparse.ArgumentParser()
    add_flag(made, SETTINGS[2], "its own words")
    assert "its own words" in made.format_help()
    assert "which one" not in made.format_help()
