"""`python -m visavis_peer` is `visavis`."""

from visavis_peer.commands.main import main

if __name__ == "__main__":
    raise SystemExit(main())
