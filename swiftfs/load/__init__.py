"""The loader: local files and archives in, proven objects out.

A plan is made before a byte is sent, and one listing afterwards proves what was sent. asyncio only; blocking reads and
hashing happen in a bounded pool of threads.
"""
