"""swiftfs: a dataset into OpenStack Swift, and back out of it as files."""

__version__ = "0.1.0"
