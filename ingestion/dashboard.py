"""The admin's first page: how things stand, for who tunes and administers; each part for who may see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from ingestion import system
from ingestion.models import DeadLetter, LetterState
from storms import history
from storms.choices import AuditAction, StormState
from storms.history import PolicyRow, Report
from storms.history_words import percent
from storms.models import AuditEntry, Storm, StormPolicy
from storms.periods import last_days
from storms.statistics import Summary

DAYS = 7
CHANGES_SHOWN = 12
ENTRIES_READ = 200
FAILURES_SHOWN = 5
NO_CHANGES = (AuditAction.LOGGED_IN, AuditAction.LOGGED_OUT, AuditAction.LOGIN_FAILED, AuditAction.LEDGER_COUNTED)


@dataclass(frozen=True, slots=True)
class Card:
    """A number with where it leads. tone: danger, warning or "" for how it is to be taken."""

    title: str
    value: str
    detail: str
    url: str
    tone: str = ""


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What `admin/index.html` shows beside the list of tables (unfold's DASHBOARD_CALLBACK)."""
    now, may = timezone.now(), request.user.has_perm
    sees_storms = may("storms.view_storm")
    report = history.report(last_days(DAYS, now)) if sees_storms else None
    receivers = system.receivers(now) if may("ingestion.view_receiver") else []
    failing = system.backlog() if may("storms.view_remediationrequest") else None
    cards = [
        *(_storm_cards(report) if report else ()),
        *(_failing_cards(failing) if failing else ()),
        *(_receiver_cards(receivers) if receivers else ()),
        *(_letter_cards() if may("ingestion.view_deadletter") else ()),
    ]
    return context | {
        "days": DAYS,
        "cards": cards,
        "policies": _policies(report) if report and may("storms.view_stormpolicy") else [],
        "failures": system.sync_failures()[:FAILURES_SHOWN] if failing and failing.failed + failing.rejected else [],
        "receivers": receivers,
        "changes": _changes() if may("storms.view_auditentry") else [],
    }


def _storm_cards(report: Report) -> list[Card]:
    running = Storm.objects.filter(state=StormState.OPEN).count()
    intake, summary, past = report.intake_now, report.now, f"{reverse('history')}?days={DAYS}"
    reduced = f"{intake.episodes:,} new alerts, {intake.resources:,} resources in {DAYS} days"
    return [
        Card("Open storms", f"{running:,}", "now", reverse("now"), "danger" if running else ""),
        Card("Storms", f"{summary.storms:,}", f"{summary.alerts:,} alerts in {DAYS} days", past),
        Card("Noise reduction", percent(intake.noise_reduction), reduced, past),
    ]


def _failing_cards(failing: system.Backlog) -> list[Card]:
    count = failing.failed + failing.rejected
    detail = f"{failing.rejected:,} of them rejected" if count else "the cluster has taken everything"
    return [Card("Failing syncs", f"{count:,}", detail, reverse("system") + "#failures", "danger" if count else "")]


def _receiver_cards(receivers: list[system.ReceiverRow]) -> list[Card]:
    trouble = sum(row.state in ("silent", "failing") for row in receivers)
    detail = f"of {len(receivers):,}, silent or refused"
    return [Card("Receivers in trouble", f"{trouble:,}", detail, reverse("system"), "danger" if trouble else "")]


def _letter_cards() -> list[Card]:
    waiting = DeadLetter.objects.filter(state=LetterState.WAITING).count()
    return [Card("Dead letters", f"{waiting:,}", "wait", reverse("dead-letters"), "warning" if waiting else "")]


def _policies(report: Report) -> list[PolicyRow]:
    """All that are enabled or had storms, the most storms first."""
    listed = {row.name for row in report.policies}
    idle = [policy for policy in StormPolicy.objects.filter(enabled=True) if policy.name not in listed]
    return [*report.policies, *(PolicyRow(policy.name, policy, Summary(), Summary(), 0) for policy in idle)]


def _changes() -> list[AuditEntry]:
    """What people changed, the latest first, among the latest entries of any kind."""
    latest = AuditEntry.objects.all()[:ENTRIES_READ]
    changes = [entry for entry in latest if entry.actor and entry.action not in NO_CHANGES]
    return changes[:CHANGES_SHOWN]
