"""The processes that the master forks: what each kind does, and the event loop two of them share."""
