"""Lists of values by name, as ``subscribe2`` and others are written: ``k=v,k=v``."""

__all__ = ["keyval_items", "parse_keyval"]


def parse_keyval(text: str) -> dict[str, str]:
    """``k=v,k=v``; the last of a repeated k counts."""
    return dict(keyval_items(text))


def keyval_items(text: str) -> list[tuple[str, str]]:
    """What ``k=v,k=v`` says; a backslash takes the next character as it is."""
    items = [""]
    characters = iter(text)
    for character in characters:
        if character == "\\":
            items[-1] += next(characters, "")
        elif character == ",":
            items.append("")
        else:
            items[-1] += character
    return [(name, value) for name, _, value in (item.partition("=") for item in items) if name]
