"""Why a storm opened: the decision about the alert that reached the threshold, and the window that it ended."""

from dataclasses import dataclass
from datetime import timedelta

from storms.models import Alert, Storm
from storms.trace import Step, opening_trace

WINDOW_SHOWN = 25
CLOCKS_APART = timedelta(minutes=1)
"""An alert is received by the web process's clock and decided by the store's."""


@dataclass(frozen=True, slots=True)
class Counted:
    """An alert of the window, and how many seconds before the opening it counted."""

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
    window = _window(storm)
    shown = window[:WINDOW_SHOWN][::-1]
    return Opening(
        opener=opener,
        steps=opening_trace(opener) if opener else [],
        window=[Counted(alert, (storm.opened_at - alert.decided_at).total_seconds()) for alert in shown],  # type: ignore[operator]
        complete=len(window) <= WINDOW_SHOWN,
    )


def _window(storm: Storm) -> list[Alert]:
    """The latest first, one more than is shown."""
    rows = storm.alerts.filter(
        group_key=storm.group_key,
        decided_at__lte=storm.opened_at,
        decided_at__gt=storm.begins_at,
        # Implied but for the clocks; it is what the index can use.
        received_at__lte=storm.opened_at + CLOCKS_APART,
    )
    return list(rows.defer("labels", "annotations").order_by("-decided_at", "-id")[: WINDOW_SHOWN + 1])
