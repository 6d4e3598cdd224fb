"""What a request asks for in its query or its headers, read so that nothing in it can fail."""


def whole_number(text: str) -> int | None:
    """None for what is none, or has more digits than PostgreSQL's bigint surely takes."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
