"""One mount's life: checks before it, the processes behind it, and the socket to ask it things."""
