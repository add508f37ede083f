"""The container's tree in SQLite: built from a listing by the fetch process, read by the file system process.

Plain synchronous code: no event loop and no network.
"""
