"""Keys and signed announcements for tests."""

from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fastrouter.wire.signature import sign


class KeyPair:
    """An RSA key, and where its halves are written."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        self.private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def write_private(self, path: Path) -> Path:
        path.write_bytes(self.private)
        return path

    def write_public(self, path: Path) -> Path:
        path.write_bytes(self.public)
        return path

    def signed(self, announcement, unix, digest="SHA1") -> bytes:
        return sign(replace(announcement, unix=unix).encode(), digest, self.private)


class Ed25519Pair(KeyPair):
    """A key of our own scheme."""

    def __init__(self) -> None:
        self.key = ed25519.Ed25519PrivateKey.generate()
        self.private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def signed(self, announcement, unix, sequence) -> bytes:
        return sign(replace(announcement, unix=unix, sequence=sequence).encode(), "ED25519", self.private)
