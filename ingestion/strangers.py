"""Requests without a known token: the first of each minute are in the ledger, all of them are counted.

Whoever reaches the port could otherwise fill the disk with rows.
"""

import threading
import time

from stormconsole import pressure
from stormconsole.pressure import Reason

A_MINUTE = 60
"""Most rows a minute, in each web process."""

_lock = threading.Lock()
_minute = 0
_recorded = 0


def may_be_recorded() -> bool:
    """Whether there is still room in this minute; False is counted."""
    global _minute, _recorded
    minute = int(time.monotonic() // 60)
    with _lock:
        if minute != _minute:
            _minute, _recorded = minute, 0
        if _recorded < A_MINUTE:
            _recorded += 1
            return True
    pressure.count(Reason.STRANGER)
    return False
