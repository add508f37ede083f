"""Chunk files on local disk, shared by all mounts of one user and kept for later ones.

Plain synchronous code: no event loop and no network. Fetch processes write, file system processes read.
"""
