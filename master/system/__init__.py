"""What the operating system asks of a daemon."""
