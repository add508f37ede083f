"""A caching front before the local cloud's Swift: what a near and fast store looks like to a client."""
