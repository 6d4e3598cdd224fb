"""Microseconds of the store and datetimes of the rows (pure)."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_datetime(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def to_us(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
