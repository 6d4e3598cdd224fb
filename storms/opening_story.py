"""Why a storm opened: the decision about the alert that reached the threshold, and the window that it ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from storms.models import Alert, Storm
from storms.trace import Step, opening_trace

WINDOW_SHOWN = 25
CLOCKS_APART = timedelta(minutes=1)
"""An alert is received by the web process's clock and decided by the store's."""


@dataclass(frozen=True, slots=True)
class Counted:
    """An alert of the window, and how many seconds before the one that reached the threshold it counted."""

    alert: Alert
    before: float


@dataclass(frozen=True, slots=True)
class Opening:
    """Attributes:
    opener: the alert that reached the threshold; None where retention has deleted it.
    window: the storm's alerts that were counted, in their order, the last `WINDOW_SHOWN` of them.
    complete: whether these are all.
    """

    opener: Alert | None
    steps: list[Step]
    window: list[Counted]
    complete: bool


def opening_of(storm: Storm) -> Opening:
    rows = Alert.objects.select_related("storm", "split_from", "policy")
    opener = rows.filter(id=storm.opened_by).first()
    # What came while the store was away counts as of its receipt, and so does the alert that reached the threshold.
    reached_at = min(storm.opened_at, opener.decided_at) if opener and opener.decided_at else storm.opened_at
    window = _window(storm, reached_at)
    shown = window[:WINDOW_SHOWN][::-1]
    return Opening(
        opener=opener,
        steps=opening_trace(opener) if opener else [],
        window=[Counted(alert, (reached_at - alert.decided_at).total_seconds()) for alert in shown],  # type: ignore[operator]
        complete=len(window) <= WINDOW_SHOWN,
    )


def _window(storm: Storm, reached_at: datetime) -> list[Alert]:
    """The latest first, one more than is shown."""
    window_from = storm.window_from or reached_at - timedelta(seconds=storm.window_seconds)
    rows = storm.alerts.filter(
        group_key=storm.group_key,
        decided_at__lte=reached_at,
        decided_at__gt=window_from,
        # Implied but for the clocks; it is what the index can use.
        received_at__lte=reached_at + CLOCKS_APART,
    )
    return list(rows.defer("labels", "annotations").order_by("-decided_at", "-id")[: WINDOW_SHOWN + 1])
