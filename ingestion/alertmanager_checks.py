"""The rows against what Alertmanager holds: resolutions that never came, alerts that were cut off or lost on the way.

A webhook tells what changed, once; after a long outage, or with `max_alerts`, some of it is never told. Alertmanager's
own API has the whole of it. What is found is taken in like a webhook, with a delivery in the ledger.

A webhook may be on its way (Alertmanager waits for its `group_wait` and `group_interval`): a disagreement is believed
at its second look, `CONFIRMED_AFTER` or more after the first. Firing is never believed against a resolution of the same
episode, since a webhook's late copy looks the same (docs/life.md); it is only told.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID, uuid4

from django.conf import settings
from django.core.cache import cache
from django.db.models import QuerySet
from django.utils import timezone
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

from ingestion import receivers
from ingestion.adapters.alertmanager_api import HeldAlert
from ingestion.adapters.batch import Batch
from ingestion.alertmanager_client import NAMED, AlertmanagerAway, held_alerts
from ingestion.ingest import record_batch, require_same, under_current_terms
from ingestion.ledger import RECONCILED, Receipt
from ingestion.models import Receiver, ReceiverKind
from ingestion.normalise import BadAlert, resolution_of
from ingestion.receivers import KnownReceiver
from stormconsole.problems import Problem
from storms.choices import AlertStatus
from storms.incoming import IncomingAlert
from storms.models import Alert
from storms.reconcile import Finding
from storms.services.reconciling import Checked, Found

CONFIRMED_AFTER = timedelta(minutes=15)
"""Three times Alertmanager's usual `group_interval`. It must also run for so long: a fresh one knows nothing yet."""
BATCH = 1000
"""Alerts of a delivery."""
MOST = 20_000
"""Disagreements of a receiver that are looked at in one run, the oldest rows first; the next goes on."""

_PRECISION = timedelta(milliseconds=1)
"""Alertmanager's API cuts times to it, where its webhook gives all digits."""

Key = tuple[str, UUID]
"""A kind of finding and an alert's id."""


class Row(NamedTuple):
    """As much of an alert's row as is compared."""

    id: UUID
    fingerprint: str
    starts_at: datetime
    alertname: str
    last_seen_at: datetime


def receivers_to_ask() -> list[Receiver]:
    return list(Receiver.objects.filter(enabled=True, alertmanager_urls__len__gt=0).order_by("name"))


def check_alertmanager(receiver_id: int, now: datetime | None = None) -> Checked:
    """What one receiver's Alertmanagers hold, any of them, against the alerts that came from it.

    Args:
        now: the time of this look, the present one by default.

    Raises: AlertmanagerAway if one of them cannot be asked: what the others do not have may be there.
    """
    now = now or timezone.now()
    known, receiver = receivers.current(receiver_id), Receiver.objects.filter(id=receiver_id).first()
    if known is None or receiver is None:
        return Checked(0, [])
    # Before Alertmanager is asked: what comes meanwhile is not compared with what it held before.
    firing = _firing(receiver)
    held = held_alerts(
        receiver.alertmanager_urls,
        receiver.alertmanager_receiver,
        known.terms,
        not_since=now - CONFIRMED_AFTER,
    )
    over = [row for row in firing if _is_over(row, held.get(row.fingerprint))][:MOST]
    missed, revived = _not_firing_here(held, receiver.alertmanager_receiver)

    first = _first_seen(
        receiver,
        [
            *(("resolution_missed", row.id) for row in over),
            *(("alert_missed", alert.id) for alert in missed),
            *(("fires_again", row.id) for row in revived),
        ],
        now,
    )
    old = {key for key, since in first.items() if now - since >= CONFIRMED_AFTER}
    # Sent again since: whoever sent it has it, though nobody that is asked.
    quiet = [row for row in over if row.last_seen_at < first["resolution_missed", row.id]]
    return Checked(
        len(held),
        [
            *_resolutions(receiver, known, [row for row in quiet if ("resolution_missed", row.id) in old]),
            *_missed(receiver, known, [alert for alert in missed if ("alert_missed", alert.id) in old]),
            *_revived(receiver, [row for row in revived if ("fires_again", row.id) in old]),
        ],
    )


# --- what is compared


def _firing(receiver: Receiver) -> list[Row]:
    """Those of a receiver of the same name that was deleted are not this one's."""
    rows = Alert.objects.filter(
        receiver=receiver.name,
        source=ReceiverKind.ALERTMANAGER,
        status=AlertStatus.FIRING,
        received_at__gte=receiver.created_at,
    )
    return _rows(rows.order_by("received_at"))


def _rows(rows: QuerySet[Alert]) -> list[Row]:
    return [Row(*row) for row in rows.values_list(*Row._fields).iterator(chunk_size=5000)]


def _is_over(row: Row, held: HeldAlert | None) -> bool:
    """Nobody holds it, or only a later episode of it: while one goes on Alertmanager keeps its first start."""
    return held is None or row.starts_at < held.starts_at


def _not_firing_here(held: Mapping[str, HeldAlert], name: str) -> tuple[list[IncomingAlert], list[Row]]:
    """What fires there for us, and here for no receiver: alerts that never came, and rows of those that are over."""
    there = {fingerprint: item for fingerprint, item in held.items() if item.alert is not None and name in item.told}
    here = Alert.objects.filter(status=AlertStatus.FIRING, fingerprint__in=there).order_by()
    for fingerprint, starts_at in here.values_list("fingerprint", "starts_at"):
        if fingerprint in there and starts_at >= there[fingerprint].starts_at:
            del there[fingerprint]
    if not there:
        return [], []
    starts = [item.starts_at for item in there.values()]
    rows = Alert.objects.filter(fingerprint__in=there, starts_at__range=(min(starts), max(starts) + _PRECISION))
    ended = {
        row.fingerprint: row
        for row in _rows(rows.order_by())
        if timedelta(0) <= row.starts_at - there[row.fingerprint].starts_at < _PRECISION
    }
    missed = [item.alert for fingerprint, item in there.items() if fingerprint not in ended and item.alert is not None]
    return sorted(missed, key=attrgetter("starts_at", "id"))[:MOST], list(ended.values())[:MOST]


def _first_seen(receiver: Receiver, keys: Sequence[Key], now: datetime) -> dict[Key, datetime]:
    """When each disagreement was seen first, if it was there at every look since.

    Looks at other Alertmanagers, or under other terms, are others; so are those before a long pause.

    Raises: AlertmanagerAway while the cache is.
    """
    asked = [receiver.alertmanager_urls, receiver.alertmanager_receiver, receiver.static_labels]
    place = f"alertmanager-differs:{receiver.pk}:{sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()}"
    pause = max(timedelta(hours=2), 3 * timedelta(minutes=settings.RECONCILE_MINUTES))
    try:
        kept: tuple[datetime, dict[Key, datetime]] | None = cache.get(place)
        looked_at, before = kept or (now, {})
        if now - looked_at > pause:
            before = {}
        first = {key: before.get(key, now) for key in keys}
        cache.set(place, (now, first), 2 * pause.total_seconds())
    except (ConnectionInterrupted, RedisError) as error:
        raise AlertmanagerAway(f"the store is away, so what it is to be compared with is not known: {error}") from error
    return first


# --- what is found


def _resolutions(receiver: Receiver, known: KnownReceiver, rows: list[Row]) -> list[Found]:
    if not rows:
        return []
    detail = f"{_these(rows)} here, and Alertmanager has not had {_them(rows)} for {_minutes()} or more"
    return [Found(Finding("resolution_missed", _target(receiver), detail), partial(_resolve, receiver, known, rows))]


def _missed(receiver: Receiver, known: KnownReceiver, alerts: list[IncomingAlert]) -> list[Found]:
    if not alerts:
        return []
    detail = f"{_these(alerts)} in Alertmanager, and never came here"
    advice = "Is max_alerts set in its webhook_configs? 0 cuts nothing off."
    finding = Finding("alert_missed", _target(receiver), detail, advice=advice)
    return [Found(finding, partial(_take_in, receiver, known, alerts))]


def _revived(receiver: Receiver, rows: list[Row]) -> list[Found]:
    if not rows:
        return []
    detail = f"{_these(rows)} in Alertmanager, and the console was told that {_them(rows)} ended"
    advice = (
        "Alertmanager had them expire and took them up again with their old startsAt, which cannot be told from a late "
        "copy. Was it without its Prometheus for a while? They count again once they start anew."
    )
    return [Found(Finding("fires_again", _target(receiver), detail, advice=advice))]


def _target(receiver: Receiver) -> str:
    return f"receiver {receiver.name}"


def _these(alerts: Sequence[Row] | Sequence[IncomingAlert]) -> str:
    """`12 alerts fire (KubePodCrashLooping 8, HighLatency 4)`."""
    counted = Counter(alert.alertname or "without a name" for alert in alerts)
    named = [f"{name} {count:,}" for name, count in counted.most_common(NAMED)]
    if len(counted) > NAMED:
        named.append(f"{len(counted) - NAMED} other names")
    return f"{len(alerts):,} alert{'s fire' if len(alerts) != 1 else ' fires'} ({', '.join(named)})"


def _them(alerts: Sequence[Row]) -> str:
    return "them" if len(alerts) != 1 else "it"


def _minutes() -> str:
    return f"{CONFIRMED_AFTER // timedelta(minutes=1)} minutes"


# --- repairs


def _resolve(receiver: Receiver, known: KnownReceiver, rows: list[Row]) -> bool:
    """Those that still fire, and were not sent again, are over as of now: when they ended nobody knows any more."""
    now = timezone.now()
    seen = {row.id: row.last_seen_at for row in rows}
    still = Alert.objects.filter(id__in=seen, status=AlertStatus.FIRING)
    alerts = []
    for row in still.only("labels", "starts_at", "last_seen_at").order_by().iterator():
        if row.last_seen_at == seen[row.id]:
            with suppress(BadAlert):
                alerts.append(resolution_of(row.labels, row.starts_at, now))
    return _take_in(receiver, known, alerts)


def _take_in(receiver: Receiver, known: KnownReceiver, alerts: list[IncomingAlert]) -> bool:
    """As deliveries of its receiver; False if there is nothing, or the receiver is not what it was."""
    taken = False
    for start in range(0, len(alerts), BATCH):
        if not _take_in_batch(receiver, known, alerts[start : start + BATCH]):
            break
        taken = True
    return taken


def _take_in_batch(receiver: Receiver, known: KnownReceiver, alerts: list[IncomingAlert]) -> bool:
    same = Receiver.objects.filter(
        id=receiver.pk,
        alertmanager_urls=receiver.alertmanager_urls,
        alertmanager_receiver=receiver.alertmanager_receiver,
    )
    current = receivers.current(receiver.pk)
    if current is None or not same.exists():
        return False
    receipt = Receipt(uuid4(), RECONCILED, timezone.now(), None)

    def take(now: KnownReceiver) -> bool:
        if now.terms != known.terms:
            return False
        record_batch(
            batch=Batch(list(enumerate(alerts)), []),
            receipt=receipt,
            receiver_id=now.id,
            receiver_name=now.name,
            source=ReceiverKind.ALERTMANAGER,
            still_valid=partial(require_same, now),
        )
        return True

    try:
        return under_current_terms(current, take)
    except Problem:  # its token was revoked, or it is edited again and again: the next run sees
        return False
