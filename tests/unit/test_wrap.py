"""scripts/wrap: lines of documents that are too long are broken, and nothing else is changed."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from scripts.lib.wrap import WIDTH, wrapped

LONG = " ".join(["word"] * 40)
words = st.lists(st.sampled_from(["word", "- x", "`a span of code`", "https://meet.example/", "5.", "it"]), max_size=60)
lines = st.lists(words.map(" ".join), max_size=8)


def test_an_item_goes_on_below_its_text_and_a_short_one_stays() -> None:
    text = f"# {LONG}\n\n- {LONG}\n  more\n- short\n  as it\n  is\n"
    heading, _, first, second, *rest = wrapped(text).split("\n")
    assert heading == f"# {LONG}"
    assert first.startswith("- word")
    assert second.startswith("  word")
    assert second.endswith("word more")
    assert rest == ["- short", "  as it", "  is", ""]


def test_tables_code_and_what_has_no_space_stay() -> None:
    text = f"| {LONG} |\n\n```\n{LONG}\n```\n\nhttps://{'x' * 200}\n"
    assert wrapped(text) == text


def test_code_in_a_text_is_not_broken() -> None:
    text = f"{'x' * (WIDTH - 10)} `visavis pipe --room den`"
    assert wrapped(text).split("\n")[1] == "`visavis pipe --room den`"


@given(lines)
def test_no_word_is_lost_and_a_second_time_changes_nothing(text: list[str]) -> None:
    once = wrapped("\n".join(text))
    assert re.split(r"\s+", once) == re.split(r"\s+", "\n".join(text))
    assert wrapped(once) == once
