"""What the store says of groups, read without deciding anything: for the reconciler."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from django_redis import get_redis_connection
from redis.exceptions import RedisError

from storms.detector import StoreUnavailable
from storms.keys import STATES, group_keys, group_of
from storms.reconcile import GroupState

CHUNK = 500
MAX_GROUPS = 100_000
"""A store with more groups than this is not read to its end: at most a minute of its time is taken."""


def states(groups: Iterable[str]) -> dict[str, GroupState]:
    """What it says of each of these groups.

    Raises: StoreUnavailable.
    """
    with _reading() as client:
        return dict(_read(client, groups))


def open_groups() -> dict[str, str]:
    """{group key: the storm that is open in it}, of every group that the store knows.

    Raises: StoreUnavailable.
    """
    with _reading() as client:
        keys = islice(client.scan_iter(match=STATES, count=CHUNK), MAX_GROUPS)
        groups = (group_of(_text(key)) for key in keys)
        return {group: state.open for group, state in _read(client, groups) if state.open}


def _read(client: Any, groups: Iterable[str]) -> Iterator[tuple[str, GroupState]]:
    iterator = iter(groups)
    while chunk := list(islice(iterator, CHUNK)):
        pipeline = client.pipeline(transaction=False)
        for group in chunk:
            pipeline.hmget(group_keys(group).state, "open", "closed")
        for group, (open_, closed) in zip(chunk, pipeline.execute(), strict=True):
            yield group, GroupState(_text(open_), _text(closed))


@contextmanager
def _reading() -> Iterator[Any]:
    try:
        yield get_redis_connection("default")
    except RedisError as error:
        raise StoreUnavailable(str(error)) from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
