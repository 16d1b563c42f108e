"""`python -m visavis_peer` is `visavis`."""

from visavis_peer.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
