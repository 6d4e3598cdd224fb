"""`/`: what burns, whether it gets worse, what is done about it, and who has it."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from stormconsole.accounts.services import may_enter_admin
from storms import live
from storms.actions import OPERATE
from storms.choices import Severity
from storms.held import held_groups
from storms.pages.decorators import console_page
from storms.totals import SILENT_ALERT, totals


@console_page("storms.view_storm")
def now(request: HttpRequest) -> HttpResponse:
    """Open storms, groups that count towards one, settled storms, the last that ended, and the totals."""
    storms = live.storm_messages(live.storms_in_sight())
    ended = live.storm_messages(live.storms_ended_last())
    numbers = totals()
    burning = [storm for storm in storms if storm["state"] == "open"]
    settled = [storm for storm in storms if storm["state"] == live.SETTLED]
    firing = sum(storm["firing_count"] for storm in storms)
    # The totals are some seconds old: where all storms are on the page, they say it better.
    is_cut = len(storms) >= live.MAX_STORMS
    context = {
        "sections": [
            _section("open", "Open storms", burning, numbers["open_storms"] if is_cut else 0),
            _section("settled", "Settled: closed, still firing", settled, numbers["settled_storms"] if is_cut else 0),
            _section("closed", "Ended last", ended),
        ],
        "most_storms": live.MAX_STORMS,
        "held": held_groups(),
        "firing": max(firing, numbers["firing_in_storms"]) if is_cut else firing,
        "totals": numbers,
        "links": _links(request.user),
        "severities": Severity.values,
        "blank": BLANK,
        "blank_group": BLANK_GROUP,
        "anything_received": bool(storms or ended or numbers["last_alert_at"]),
        "webhook_url": request.build_absolute_uri("/api/v1/webhooks/alertmanager"),
        "ended_limit": live.ENDED_SHOWN,
        "can_operate": request.user.has_perm(OPERATE),
    }
    return render(request, "console/now.html", context)


def _section(state: str, title: str, storms: list[dict[str, Any]], number: int = 0) -> dict[str, Any]:
    """`number`: how many there are, where the page cannot hold all."""
    number = max(number, len(storms))
    return {"state": state, "title": title, "storms": storms, "number": number, "more": number - len(storms)}


def _links(user: Any) -> dict[str, str]:
    """Where each total can be looked into, as far as this person may."""
    silent = f'alertname="{SILENT_ALERT}"'
    return {
        "held": _page(user, "alerts", disposition="held"),
        "deferred": _page(user, "alerts", disposition="deferred", range="all"),
        "alerts_24h": _page(user, "alerts", range="24h"),
        "silent_receivers": _page(user, "alerts", q=silent, status="firing", range="all"),
        "failed_syncs": _failures(user),
        "resources_24h": _admin(user, "remediationrequest"),
    }


def _page(user: Any, name: str, **query: str) -> str:
    return f"{reverse(name)}?{urlencode(query)}" if user.has_perm("storms.view_alert") else ""


def _failures(user: Any) -> str:
    """The part of the System page that lists them."""
    may = user.has_perms(["ingestion.view_delivery", "storms.view_remediationrequest"])
    return f"{reverse('system')}#failures" if may else ""


def _admin(user: Any, model: str) -> str:
    may = may_enter_admin(user) and user.has_perm(f"storms.view_{model}")
    return reverse(f"admin:storms_{model}_changelist") if may else ""


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
    "recent": {},
    "opened_at": None,
    "last_alert_at": None,
    "closed_at": None,
    "remediation_request": None,
}
"""What the row's template is rendered with; the page's script fills in a storm."""
BLANK_GROUP: dict[str, Any] = {
    "key": "",
    "group_labels": {},
    "severity": "info",
    "held": 0,
    "counted": 0,
    "threshold": 1,
    "release_at": None,
    "policy": "",
}
"""The same for a group that counts."""
