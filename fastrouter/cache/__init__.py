"""The cache: keys and values in memory that all processes share, as uWSGI has it."""
