"""The admin's sidebar: grouped by what people do, and for each person only what they may see."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

Item = tuple[str, str, str, str]
"""Title, icon, URL name, and the permission to see it."""

GROUPS: tuple[tuple[str, tuple[Item, ...]], ...] = (
    (
        "Console",
        (
            ("Now", "thunderstorm", "now", "storms.view_storm"),
            ("Alerts", "manage_search", "alerts", "storms.view_alert"),
            ("Silences", "notifications_off", "silences", "ingestion.view_silence"),
            ("History", "calendar_month", "history", "storms.view_storm"),
            ("System", "monitor_heart", "system", "ingestion.view_delivery"),
        ),
    ),
    (
        "Tuning",
        (
            ("Policies", "tune", "admin:storms_stormpolicy_changelist", "storms.view_stormpolicy"),
            ("Severities", "priority_high", "admin:storms_severityrule_changelist", "storms.view_severityrule"),
            ("Environments", "dns", "admin:storms_environmentrule_changelist", "storms.view_environmentrule"),
            ("Priorities", "low_priority", "admin:storms_priorityrule_changelist", "storms.view_priorityrule"),
            ("Silences", "volume_off", "admin:ingestion_silence_changelist", "ingestion.view_silence"),
        ),
    ),
    (
        "Sources",
        (
            ("Receivers", "webhook", "admin:ingestion_receiver_changelist", "ingestion.view_receiver"),
            ("Deliveries", "receipt_long", "admin:ingestion_delivery_changelist", "ingestion.view_delivery"),
            ("Dead letters", "report", "admin:ingestion_deadletter_changelist", "ingestion.view_deadletter"),
        ),
    ),
    (
        "Tables",
        (
            ("Storms", "cyclone", "admin:storms_storm_changelist", "storms.view_storm"),
            ("Alerts", "notifications_active", "admin:storms_alert_changelist", "storms.view_alert"),
            (
                "Remediation requests",
                "healing",
                "admin:storms_remediationrequest_changelist",
                "storms.view_remediationrequest",
            ),
        ),
    ),
    (
        "Access",
        (
            ("Users", "person", "admin:auth_user_changelist", "auth.view_user"),
            ("Groups", "group", "admin:auth_group_changelist", "auth.view_group"),
            ("API tokens", "key", "admin:storms_apitoken_changelist", "storms.view_apitoken"),
            ("Audit", "history", "admin:storms_auditentry_changelist", "storms.view_auditentry"),
        ),
    ),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """As unfold's SIDEBAR wants it; groups without an item are left out."""
    groups = [{"title": title, "separator": True, "items": _items(request, items)} for title, items in GROUPS]
    return [group for group in groups if group["items"]]


def _items(request: HttpRequest, items: tuple[Item, ...]) -> list[dict[str, Any]]:
    found = []
    for title, icon, name, permission in items:
        if request.user.has_perm(permission):
            # The console's pages are never the admin's own: "/" would match every address.
            active = {} if name.startswith("admin:") else {"active": False}
            found.append({"title": title, "icon": icon, "link": reverse(name)} | active)
    return found
