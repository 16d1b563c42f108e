"""Words that come from outside as bytes: of the command line, the environment, a file of settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def as_utf8(word: str) -> str:
    """Return a word of the command line or the environment, whose bytes are UTF-8 whatever the locale says they are.

    Python keeps bytes that the locale's encoding does not have as lone surrogates (PEP 383). Raises ValueError, with a
    text that goes behind the name of what the word was given for.
    """
    try:
        word.encode()
    except UnicodeEncodeError:
        try:
            return os.fsencode(word).decode()
        except UnicodeError:
            raise ValueError("its bytes are not UTF-8") from None
    return word


def read_toml(path: Path) -> dict[str, Any]:
    """Return the settings of a TOML file by name; no text among them has a NUL character, which no setting can hold.

    Raises ValueError that names the file and what is wrong with it.
    """
    import tomllib  # for who has such a file

    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not valid TOML: it is not UTF-8") from None
    except RecursionError:
        raise ValueError(f"{path} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    for name, value in settings.items():
        if any(isinstance(item, str) and "\0" in item for item in (value if isinstance(value, list) else [value])):
            raise ValueError(f"{path}: {name}: it holds a NUL character")
    return settings
