"""keys: files of keys, and what happens when they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from visavis_server.setup.keys import FILE_SIZE, KeyFileError, WatchedFile, read_keys, read_or_make_keys, read_text


def test_a_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    (key,) = read_or_make_keys(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_or_make_keys(path) == [key]
    (other,) = read_or_make_keys(tmp_path / "other")
    assert other != key


def test_the_first_line_signs_and_comments_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# new\n{'01' * 32}  # since Monday\n\n{'02' * 40}\n")
    assert read_keys(path) == [b"\x01" * 32, b"\x02" * 40]


def test_what_is_no_file_of_keys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"\xff")
    with pytest.raises(KeyFileError, match="is not text"):
        read_text(path)
    path.write_bytes(b"a" * (FILE_SIZE + 1))
    with pytest.raises(KeyFileError, match="larger than 1 MiB"):
        read_text(path)
    with pytest.raises(KeyFileError, match="cannot read"):
        read_text(tmp_path)


def test_a_change_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("one")
    watched = WatchedFile(path, read_text)
    assert not watched.reload_if_changed()
    path.write_text("two, longer")
    assert watched.reload_if_changed()
    assert watched.content == "two, longer"
    assert not watched.reload_if_changed()


def test_a_file_that_is_gone_leaves_its_content_and_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "f"
    path.write_text("one")
    watched = WatchedFile(path, read_text)
    path.unlink()
    assert not watched.reload_if_changed()
    assert not watched.reload_if_changed()
    assert watched.content == "one"
    assert caplog.text.count("the version read before stays in use") == 1


def test_a_companion_is_watched_too(tmp_path: Path) -> None:
    path, other = tmp_path / "cert", tmp_path / "key"
    path.write_text("one")
    other.write_text("1")
    watched = WatchedFile(path, lambda path: path.read_text() + other.read_text(), other)
    other.write_text("22")
    assert watched.reload_if_changed()
    assert watched.content == "one22"
