"""A checked configuration as JSON: what one process tells another, which need not trust it with more.

The values are those that the declarations name; what comes out has the types that went in.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from fastrouter.options import Options
from fastrouter.options.declaration import MappingSource, SignCheck, declared
from fastrouter.wire.signing_key import SigningKey

__all__ = ["decode_options", "encode_options", "options_from"]

_STRUCTURED: dict[str, Callable[..., object]] = {
    "mapping": MappingSource,
    "sign_check": SignCheck,
    "signing_key": SigningKey,
}
"""The types of values that are more than text or a number, by kind of option."""


def encode_options(options: Options) -> bytes:
    return json.dumps(asdict(options)).encode("ascii")


def decode_options(data: bytes) -> Options:
    """Raises ValueError for what is no JSON, KeyError and TypeError for what is not of these options."""
    return options_from(json.loads(data))


def options_from(said: dict[str, Any]) -> Options:
    """The options that asdict() made a dictionary of. Raises KeyError and TypeError, too."""
    options = Options(files=[str(name) for name in said["files"]])
    names = (field.name for field in fields(Options))
    for group, name in zip(options.groups(), names, strict=False):
        for option in declared(type(group)):
            setattr(group, option.field, _value(option.kind, said[name][option.field]))
    return options


def _value(kind: str, value: Any) -> Any:
    if kind in _STRUCTURED and value is not None:
        return _STRUCTURED[kind](**value)
    return tuple(value) if kind == "capabilities" else value
