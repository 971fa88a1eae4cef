"""Signatures of announcements, in two schemes.

uWSGI's: RSA over everything but the header. The header, and with it the command, is not covered: that a
captured announcement is not turned into an unsubscription has to be seen from its time (see admission.py).

Our own, beside it: Ed25519 (RFC 8032) over the command as well. docs/protocol.md has both, byte by byte.
"""

import os
import re
import struct
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from fastrouter.wire.packet import HEADER
from fastrouter.wire.signing_key import DIGEST_NAMES, ED25519

__all__ = ["KeyFiles", "Signed", "key_file", "sign", "split_signature"]

_DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {
    name: getattr(hashes, name) for name in DIGEST_NAMES if name != ED25519
}

_LENGTH = struct.Struct("<H")
_LEGACY, _OWN = b"sign", b"ed25519"
"""The last variable of a signed announcement: its name says the scheme."""

_DOMAIN = b"uwsgi announcement, ed25519\0"
"""In front of what is signed in our own scheme, so that no signature of anything else can pass for it."""

_UNSAFE = re.compile(rb"[^0-9A-Za-z._-]")
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)

_PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class Signed(NamedTuple):
    """A datagram with a signature."""

    content: bytes
    """What is signed."""
    signature: bytes
    covers_command: bool
    """It is of our own scheme."""


def split_signature(datagram: bytes) -> Signed | None:
    """Find the signature, which has to be the last record of all; None when there is none."""
    at = HEADER.size
    try:
        while at < len(datagram):
            (name_size,) = _LENGTH.unpack_from(datagram, at)
            value = at + 4 + name_size
            (value_size,) = _LENGTH.unpack_from(datagram, value - 2)
            if value + value_size == len(datagram):
                name = datagram[at + 2 : value - 2]
                if name == _OWN:
                    return Signed(_covered(datagram[:at]), datagram[value:], True)
                return (
                    Signed(datagram[HEADER.size : at], datagram[value:], False) if name == _LEGACY else None
                )
            at = value + value_size
    except struct.error:
        pass  # the lengths lead beyond the end
    return None


def sign(datagram: bytes, digest: str, pem: bytes) -> bytes:
    """The datagram with a signature at its end, made with the private key in pem; digest says the scheme.

    Raises ValueError when that is no unencrypted key of the scheme's kind.
    """
    try:
        key = load_pem_private_key(pem, None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None
    if digest == ED25519:
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise ValueError("it is not an Ed25519 key")
        return _with_record(datagram, _OWN, key.sign(_covered(datagram)))
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("it is not an RSA key")
    signature = key.sign(datagram[HEADER.size :], padding.PKCS1v15(), _DIGESTS[digest]())
    return _with_record(datagram, _LEGACY, signature)


def _covered(datagram: bytes) -> bytes:
    """What our own scheme signs of a datagram without signature: the command and all variables."""
    modifier1, _, modifier2 = HEADER.unpack_from(datagram)
    return _DOMAIN + bytes((modifier1, modifier2)) + datagram[HEADER.size :]


def _with_record(datagram: bytes, name: bytes, value: bytes) -> bytes:
    modifier1, _, modifier2 = HEADER.unpack_from(datagram)
    record = _LENGTH.pack(len(name)) + name + _LENGTH.pack(len(value)) + value
    block = datagram[HEADER.size :] + record
    return HEADER.pack(modifier1, len(block), modifier2) + block


def key_file(directory: str, name: bytes) -> bytes:
    """The path of a signer's public key (uWSGI 2.0.31's rule): nothing in it leads out of the directory."""
    return os.path.join(os.fsencode(directory), _UNSAFE.sub(b"_", name) + b".pem")


def _check_name(name: bytes) -> None:
    """``foo.com/a`` and ``foo.com:a`` have one key file, so that each could sign for the other.

    uWSGI's scheme is so; in our own, only a name that no other shares a file with is a signer's.
    Raises ValueError.
    """
    if _UNSAFE.search(name) or name.startswith(b"."):
        raise ValueError("a signer's name has letters, digits, '.', '_' and '-' only; see signer=NAME")


class KeyFiles:
    """The public keys in a directory, read again when a file changes.

    A file may have several, as while one key replaces another. The kind of a key decides which scheme it is
    good for; digest is that of uWSGI's scheme, or ED25519 when that scheme is not accepted at all.
    """

    def __init__(self, digest: str, directory: str) -> None:
        self._digest = _DIGESTS.get(digest)
        self._directory = directory
        self._keys: dict[bytes, tuple[tuple[int, int, int], list[_PublicKey]]] = {}

    def verify(self, name: bytes, signed: Signed) -> None:
        """Raises ValueError, which says why, when it was not signed with the private key that name has."""
        if signed.covers_command:
            _check_name(name)
        if not any(
            self._has_signed(key, signed) for key in self._public_keys(key_file(self._directory, name))
        ):
            raise ValueError("the signature is wrong")

    def _has_signed(self, key: _PublicKey, signed: Signed) -> bool:
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                if not signed.covers_command:
                    return False
                key.verify(signed.signature, signed.content)
            else:
                if signed.covers_command or self._digest is None:
                    return False
                key.verify(signed.signature, signed.content, padding.PKCS1v15(), self._digest())
        except InvalidSignature:
            return False
        return True

    def _public_keys(self, path: bytes) -> list[_PublicKey]:
        name = os.fsdecode(path)
        try:
            about = os.stat(path)
            stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
            known = self._keys.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            with open(path, "rb") as file:
                keys = _load(file.read(), name)
        except OSError as error:
            self._keys.pop(path, None)
            raise ValueError(f"there is no public key: {name}: {error.strerror}") from None
        self._keys[path] = (stamp, keys)
        return keys


def _load(text: bytes, name: str) -> list[_PublicKey]:
    """The public keys in a file called name. Raises ValueError."""
    keys: list[_PublicKey] = []
    for block in _PEM.finditer(text):
        try:
            key = load_pem_public_key(block[0])
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError(f"{name} is no public key: {error}") from None
        if not isinstance(key, _PublicKey):
            raise ValueError(f"{name}: expected RSA or Ed25519 keys")
        keys.append(key)
    if not keys:
        raise ValueError(f"{name} is no public key")
    return keys
