"""Refused requests that brought no alert: the first of each minute are in the ledger, all of them are counted.

Whoever reaches the port, or has a token and a program that is broken, could otherwise fill the disk with rows. What
was an alert always has its outcome in the ledger; there the receiver's limit is the bound.
"""

from stormconsole import pressure
from stormconsole.pressure import PerMinute, Reason

MOST = 60
"""A minute, of each receiver and of all without a known token together, in each process."""

_rows: dict[int | None, PerMinute] = {}


def may_be_recorded(receiver_id: int | None) -> bool:
    """Whether there is still room in this minute; False is counted.

    Args:
        receiver_id: None without a known token.
    """
    if _rows.setdefault(receiver_id, PerMinute(MOST)).take():
        return True
    pressure.count(Reason.STRANGER if receiver_id is None else Reason.REFUSED, receiver_id)
    return False
