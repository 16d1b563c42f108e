"""The command `visavis-server`: its settings; the server itself is imported once they are known."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from visavis_server.core.errors import FAILED, SettingsError
from visavis_server.setup.configuration import read_settings
from visavis_shared.descriptors import prepare_standard_streams
from visavis_shared.ids import printable
from visavis_shared.outlets import print_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT; return the exit code (core/errors.py)."""
    prepare_standard_streams()
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    except SettingsError as error:
        print_status(f"visavis-server: {printable(str(error))}")
        return error.exit_code
    try:
        from visavis_server import running  # takes half a second, which who asks for help is not to wait for
    except OSError as error:  # a file that the environment names, as SSLKEYLOGFILE does
        from visavis_shared.tasks import sentence

        print_status(f"visavis-server: {printable(sentence(error))}")
        return FAILED
    return running.run(settings)
