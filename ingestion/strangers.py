"""Requests without a known token: the first of each minute are in the ledger, all of them are counted.

Whoever reaches the port could otherwise fill the disk with rows.
"""

from stormconsole import pressure
from stormconsole.pressure import PerMinute, Reason

rows = PerMinute(60)


def may_be_recorded() -> bool:
    """Whether there is still room in this minute; False is counted."""
    if rows.take():
        return True
    pressure.count(Reason.STRANGER)
    return False
