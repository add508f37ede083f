"""Measurements of swiftfs against its peers, each pair in one interleaved run: ratios, exact counts and goals."""
