"""Signatures of announcements, as uWSGI makes them: RSA over everything but the header.

The header, and with it the command, is not covered: that a captured announcement is not turned into an
unsubscription has to be seen from its time (see admission.py).
"""

import os
import re
import struct
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from fastrouter.packet import HEADER
from fastrouter.subscriber import DIGEST_NAMES

__all__ = ["KeyFiles", "Signed", "key_file", "sign", "split_signature"]

_DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {name: getattr(hashes, name) for name in DIGEST_NAMES}

_LENGTH = struct.Struct("<H")
_SIGN = _LENGTH.pack(4) + b"sign"
_UNSAFE = re.compile(rb"[^0-9A-Za-z._-]")


class Signed(NamedTuple):
    """A datagram with a signature."""

    content: bytes
    """What is signed."""
    signature: bytes


def split_signature(datagram: bytes) -> Signed | None:
    """Find the signature, which has to be the last record of all; None when there is none."""
    at = HEADER.size
    try:
        while at < len(datagram):
            (name_size,) = _LENGTH.unpack_from(datagram, at)
            (value_size,) = _LENGTH.unpack_from(datagram, at + 2 + name_size)
            value = at + 4 + name_size
            if value + value_size == len(datagram) and datagram[at : at + 6] == _SIGN:
                return Signed(datagram[HEADER.size : at], datagram[value:])
            at = value + value_size
    except struct.error:
        pass  # the lengths lead beyond the end
    return None


def sign(datagram: bytes, digest: str, pem: bytes) -> bytes:
    """The datagram with a signature at its end, made with the private key in pem.

    Raises ValueError when that is no unencrypted RSA key.
    """
    try:
        key = load_pem_private_key(pem, None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("it is not an RSA key")
    content = datagram[HEADER.size :]
    signature = key.sign(content, padding.PKCS1v15(), _DIGESTS[digest]())
    block = content + _SIGN + _LENGTH.pack(len(signature)) + signature
    modifier1, _, modifier2 = HEADER.unpack_from(datagram)
    return HEADER.pack(modifier1, len(block), modifier2) + block


def key_file(directory: str, key: bytes) -> bytes:
    """The path of a key's public key (uWSGI 2.0.31's rule): nothing in it leads out of the directory."""
    return os.path.join(os.fsencode(directory), _UNSAFE.sub(b"_", key) + b".pem")


class KeyFiles:
    """The public keys in a directory, read again when a file changes."""

    def __init__(self, digest: str, directory: str) -> None:
        self._digest = _DIGESTS[digest]
        self._directory = directory
        self._keys: dict[bytes, tuple[tuple[int, int, int], rsa.RSAPublicKey]] = {}

    def verify(self, key: bytes, signed: Signed) -> None:
        """Raises ValueError, which says why, when it was not signed with the key's private key."""
        public = self._public_key(key_file(self._directory, key))
        try:
            public.verify(signed.signature, signed.content, padding.PKCS1v15(), self._digest())
        except InvalidSignature:
            raise ValueError("the signature is wrong") from None

    def _public_key(self, path: bytes) -> rsa.RSAPublicKey:
        name = os.fsdecode(path)
        try:
            about = os.stat(path)
            stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
            known = self._keys.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            with open(path, "rb") as file:
                public = load_pem_public_key(file.read())
        except OSError as error:
            self._keys.pop(path, None)
            raise ValueError(f"there is no public key: {name}: {error.strerror}") from None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError(f"{name} is no public key: {error}") from None
        if not isinstance(public, rsa.RSAPublicKey):
            raise ValueError(f"{name} is no RSA key")
        self._keys[path] = (stamp, public)
        return public
