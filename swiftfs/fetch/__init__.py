"""Between the two processes: messages, the asyncio side that fetches and the trio side that asks."""
