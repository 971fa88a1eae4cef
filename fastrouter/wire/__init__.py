"""Codecs: bytes in, values out, and back. Nothing here reads a socket."""
