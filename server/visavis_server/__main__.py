"""Run the server as `python -m visavis_server`."""

import sys

from visavis_server.cli import main

sys.exit(main())
