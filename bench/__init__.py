"""Measurements and models of swiftfs; no part of what is installed."""
