"""Keys and addresses are bytes on the wire and text in configurations; any bytes survive both ways."""

__all__ = ["in_words", "printable", "to_bytes", "to_text"]


def to_text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def to_bytes(value: str) -> bytes:
    """Raises UnicodeEncodeError for text that never was bytes (a lone surrogate of another kind)."""
    return value.encode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """What comes from the network, for a log: nothing in it begins another line, or talks to a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def in_words(error: Exception) -> str:
    """What went wrong: of an OSError, without its number, and with the file that it is about."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
