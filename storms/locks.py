"""PostgreSQL's advisory locks: work that one process does at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


def try_lock(key: int) -> bool:
    """True if this process has it now, for as long as its database connection lives."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_lock(%s)", [key])
        [locked] = cursor.fetchone()
    return bool(locked)


@contextmanager
def locked(key: int) -> Iterator[bool]:
    """Hold it in the block; False if another process does."""
    mine = try_lock(key)
    try:
        yield mine
    finally:
        if mine:
            with connection.cursor() as cursor:
                cursor.execute("select pg_advisory_unlock(%s)", [key])
