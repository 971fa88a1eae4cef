"""Loading the user's code."""
