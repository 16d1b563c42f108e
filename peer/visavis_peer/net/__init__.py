"""Adapters to the network, one third-party library each."""
