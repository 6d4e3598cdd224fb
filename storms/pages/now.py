"""`/`: what is going on."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from storms import live
from storms.models import Alert
from storms.pages.decorators import console_page


@console_page("storms.view_storm")
def now(request: HttpRequest) -> HttpResponse:
    """What is going on: open storms, settled ones, the last that ended."""
    storms = live.storm_messages(live.storms_in_sight())
    ended = live.storm_messages(live.storms_ended_last())
    context = {
        "sections": [
            _section("open", "Open storms", [storm for storm in storms if storm["state"] == "open"]),
            _section("settled", "Settled: closed, still firing", [s for s in storms if s["state"] == live.SETTLED]),
            _section("closed", "Ended last", ended),
        ],
        "firing": sum(storm["firing_count"] for storm in storms),
        "totals": live.totals(),
        "blank": BLANK,
        "anything_received": bool(storms or ended) or Alert.objects.exists(),
        "webhook_url": request.build_absolute_uri("/api/v1/webhooks/alertmanager"),
        "ended_limit": live.ENDED_SHOWN,
    }
    return render(request, "console/now.html", context)


def _section(state: str, title: str, storms: list[dict[str, Any]]) -> dict[str, Any]:
    return {"state": state, "title": title, "storms": storms}


BLANK: dict[str, Any] = {
    "id": "",
    "url": "",
    "group_labels": {},
    "state": "open",
    "severity": "info",
    "alert_count": 0,
    "firing_count": 0,
    "acknowledged_by": "",
    "assignee": "",
    "opened_at": None,
    "last_alert_at": None,
    "closed_at": None,
    "remediation_request": None,
}
"""What the row's template is rendered with; the page's script fills in a storm."""
