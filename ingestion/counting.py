"""The ledger's sums without adding a million rows up at each look.

A count is kept with its time and what it took. Where adding up is cheap it is done at each look, so that the sums are
of now. Where it is not, a worker counts every half minute, or less often, so that it never takes more than a twentieth
of the time. Whoever shows the sums shows their age.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from ingestion.ledger import totals
from ingestion.models import LedgerCount
from storms.choices import AuditAction
from storms.services import audit

ROW = 1
CHEAP_MS = 30
FRESH = timedelta(seconds=25)
REST = 20
"""Between two counts lies so many times what one takes."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The ledger's totals (`ingestion.ledger.totals`), and of when they are."""

    totals: dict[str, int]
    counted_at: datetime
    took_ms: int


def ledger() -> Counted:
    """The totals: added up now where that is cheap, else the last count."""
    row = LedgerCount.objects.filter(id=ROW).first()
    if row is None or row.took_ms <= CHEAP_MS:
        return _add_up()
    return Counted(row.totals, row.counted_at, row.took_ms)


def count_ledger() -> Counted:
    """Add the whole ledger up and keep the result. A count that began earlier does not replace a later one."""
    counted = _add_up()
    fields = {"totals": counted.totals, "counted_at": counted.counted_at, "took_ms": counted.took_ms}
    if not LedgerCount.objects.filter(id=ROW, counted_at__lte=counted.counted_at).update(**fields):
        LedgerCount.objects.get_or_create(id=ROW, defaults=fields)
    return counted


def count_now(*, actor: str) -> Counted:
    """A person asked for it."""
    counted = count_ledger()
    audit.record(action=AuditAction.LEDGER_COUNTED, actor=actor, detail=f"unaccounted: {counted.totals['unaccounted']}")
    return counted


def count_if_due() -> bool:
    """Count unless the last count is young, or took so long that the next one must wait."""
    row = LedgerCount.objects.filter(id=ROW).only("counted_at", "took_ms").first()
    if row is not None and timezone.now() - row.counted_at < max(FRESH, timedelta(milliseconds=REST * row.took_ms)):
        return False
    count_ledger()
    return True


def _add_up() -> Counted:
    counted_at, started = timezone.now(), time.perf_counter()
    sums = totals()
    return Counted(sums, counted_at, round((time.perf_counter() - started) * 1000))
