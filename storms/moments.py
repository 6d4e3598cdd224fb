"""Times that somebody writes (pure)."""

from datetime import UTC, datetime


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC. PostgreSQL reads no offset of 16 hours or more, though ISO 8601 and Python do.

    Raises: ValueError if it has no offset, or if it is not within the years 1 to 9999 in UTC.
    """
    if moment.tzinfo is None:
        raise ValueError("no offset")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error
