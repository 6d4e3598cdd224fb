"""Bearer tokens (pure): made here, shown once, stored as a hash.

A token is 256 random bits, so one SHA-256 is enough: there is no dictionary to try, and a slow hash on the hot path
would only help an attacker to keep the console busy.
"""

import hashlib
import secrets


def new_token(prefix: str) -> str:
    """`<prefix>_<43 characters>`; the prefix lets secret scanners and people tell what leaked."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """64 hex characters."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
