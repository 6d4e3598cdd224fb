"""The dead man's switch: a receiver that was silent for too long raises an alert of the console's own.

The alert goes the way of every other: a delivery in the ledger, a policy, a storm or a RemediationRequest; it resolves
when the receiver speaks again. The rows say what is raised, so a check may run anywhere, at any time, and be repeated.
To speak is to have something accepted: a sender that is refused is as good as silent.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from django.db import connection

from ingestion.adapters.batch import Batch
from ingestion.ingest import record_batch
from ingestion.ledger import Receipt
from ingestion.models import ReceiverKind
from ingestion.normalise import incoming_alert, resolution_of
from storms.incoming import IncomingAlert
from storms.models import Alert
from storms.totals import HEARTBEAT, SILENT_ALERT

KIND = HEARTBEAT
ALERTNAME = SILENT_ALERT
SENDER = "stormconsole"
CHECK_SECONDS = 5.0
# After the console itself was away all senders look silent: they get so long to be heard again.
GRACE = timedelta(minutes=5)

_SILENT = """
select name, heartbeat_minutes, last from (
    select r.name, r.heartbeat_minutes, coalesce((
        select d.received_at from ingestion_delivery d
        where d.receiver_id = r.id and d.http_status < 300 and d.kind = any(%(kinds)s)
        order by d.received_at desc limit 1), r.created_at) as last
    from ingestion_receiver r where r.enabled and r.heartbeat_minutes is not null
) heard where last + heartbeat_minutes * interval '1 minute' <= %(now)s order by name
"""


@dataclass(frozen=True, slots=True)
class Silent:
    """A receiver that is over its time, since `due`."""

    name: str
    minutes: int
    last: datetime

    @property
    def due(self) -> datetime:
        return self.last + timedelta(minutes=self.minutes)


def check_heartbeats(now: datetime, *, watching_since: datetime | None = None) -> list[str]:
    """Raise an alert for each receiver that fell silent, resolve those of receivers that spoke; their names.

    Args:
        watching_since: when this console started to listen; in the first five minutes nothing is raised.

    Raises: django.db.Error.
    """
    silent = _silent(now)
    raised = _raised()
    is_grace = watching_since is not None and now < watching_since + GRACE
    alerts = [] if is_grace else _new(silent, raised, now)
    alerts += _over({item.name for item in silent}, raised, now)
    if alerts:
        record_batch(
            batch=Batch(list(enumerate(alerts)), []),
            receipt=Receipt(uuid4(), KIND, now, None),
            receiver_id=None,
            receiver_name=SENDER,
        )
    return [alert.labels["receiver"] for alert in alerts]


def _silent(now: datetime) -> list[Silent]:
    with connection.cursor() as cursor:
        # Not the console's own, such as a replay.
        cursor.execute(_SILENT, {"kinds": ReceiverKind.values, "now": now})
        return [Silent(*row) for row in cursor.fetchall()]


def _raised() -> list[Alert]:
    return list(Alert.objects.filter(alertname=ALERTNAME, source=KIND, status="firing").only("labels", "starts_at"))


def _new(silent: Iterable[Silent], raised: Iterable[Alert], now: datetime) -> list[IncomingAlert]:
    known = {alert.labels["receiver"] for alert in raised}
    alerts = [_firing(item, item.due) for item in silent if item.name not in known]
    # The receiver was disabled, or its time prolonged, and back: that alert is over, this is another.
    ended = set(Alert.objects.filter(id__in=[alert.id for alert in alerts]).values_list("id", flat=True))
    by_name = {item.name: item for item in silent}
    return [alert if alert.id not in ended else _firing(by_name[alert.labels["receiver"]], now) for alert in alerts]


def _over(silent: Collection[str], raised: Iterable[Alert], now: datetime) -> list[IncomingAlert]:
    return [
        resolution_of(alert.labels, alert.starts_at, now) for alert in raised if alert.labels["receiver"] not in silent
    ]


def _firing(silent: Silent, starts_at: datetime) -> IncomingAlert:
    minutes = f"{silent.minutes} minute" + ("s" if silent.minutes != 1 else "")
    return incoming_alert(
        firing=True,
        labels={"alertname": ALERTNAME, "receiver": silent.name, "severity": "critical"},
        annotations={
            "summary": f"Receiver {silent.name} has been silent for {minutes}",
            "description": f"Nothing was accepted from it since {silent.last:%Y-%m-%d %H:%M:%S} UTC. Its sender may be "
            "down, or unable to reach the console: whatever it watches may break unseen.",
        },
        starts_at=starts_at,
        ends_at=None,
        generator_url="",
        resource=("Receiver", silent.name),
    )
