"""What an operator controls a running master by."""
