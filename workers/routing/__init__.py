"""The path of a request, without any protocol."""
