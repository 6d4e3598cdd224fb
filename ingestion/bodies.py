"""A webhook's body as bytes: inflated where it came compressed, and never more than the limit (pure)."""

import zlib

PLAIN = {"", "identity"}
# What zlib is told to expect: a gzip header, a zlib header, no header.
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
ENCODINGS = ("gzip", "deflate")


class BodyError(ValueError):
    """The body is not what its Content-Encoding says."""


class TooLarge(Exception):
    """Inflated, the body is over the limit."""


class UnknownEncoding(ValueError):
    """A Content-Encoding that is not taken."""


def decode(body: bytes, encoding: str, *, limit: int) -> bytes:
    """The body without its Content-Encoding; at most `limit` bytes are ever inflated.

    Args:
        encoding: the header's value; one encoding at most.

    Raises: UnknownEncoding, TooLarge, BodyError.
    """
    name = encoding.strip().lower().removeprefix("x-")
    if name in PLAIN:
        return body
    if name not in ENCODINGS:
        raise UnknownEncoding(name)
    try:
        return _inflate(body, _window(body, name), limit)
    except zlib.error as error:
        raise BodyError(f"not {name}: {error}") from error


def _window(body: bytes, name: str) -> int:
    if name == "gzip":
        return _GZIP
    # "deflate" means zlib's format (RFC 9110), but some senders leave its header out.
    has_header = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
    return _ZLIB if has_header else _RAW


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    parts, size = [], 0
    while body:
        # A gzip file may have several members.
        inflater = zlib.decompressobj(window)
        part = inflater.decompress(body, limit - size + 1)
        size += len(part)
        if size > limit:
            raise TooLarge
        if not inflater.eof:
            raise BodyError("it ends too early")
        parts.append(part)
        body = inflater.unused_data if window == _GZIP else b""
    return b"".join(parts)
