"""The memory that the processes share."""
