"""With what announcements are signed."""

from dataclasses import dataclass

__all__ = ["DIGEST_NAMES", "ED25519", "SigningError", "SigningKey", "parse_signing"]


ED25519 = "ED25519"
"""Names our own scheme where uWSGI's has the name of a digest."""

DIGEST_NAMES = ("SHA1", "SHA224", "SHA256", "SHA384", "SHA512", ED25519)
"""For signatures."""


class SigningError(ValueError):
    """A signing key that cannot be understood; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """How announcements are signed."""

    digest: str
    pem: str
    """The file of the private key; read anew for each announcement, as uWSGI does."""
    signer: str = ""
    """What the public key is called where announcements are checked; empty: like the announced key."""


def parse_signing(text: str) -> SigningKey:
    """``DIGEST:FILE``. Raises SigningError."""
    digest, colon, pem = text.partition(":")
    if not colon or not pem or digest.upper() not in DIGEST_NAMES:
        raise SigningError(f"expected DIGEST:FILE.pem to sign with, DIGEST one of {', '.join(DIGEST_NAMES)}")
    return SigningKey(digest.upper(), pem)
