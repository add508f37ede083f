"""The Swift client: asyncio, one account, every request retried, pinned and counted."""
