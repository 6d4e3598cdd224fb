"""Writing silences, and asking beforehand what one would have silenced. A trigger tells every web process."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from ingestion.models import Silence
from ingestion.silences import compile_silence
from storms.choices import AlertStatus, AuditAction, Disposition, StormState
from storms.matchers import MatcherError, parse_matchers
from storms.models import Alert, Storm
from storms.services import audit

logger = logging.getLogger(__name__)

PREVIEW_TIME = timedelta(days=1)
PREVIEW_SHOWN = 20
PREVIEW_READ = 100_000
"""Alerts that a preview reads at most, the latest first: two seconds or so."""
WEEKLY_FIELDS = ("weekdays", "window_start", "window_minutes")
AUDITED_FIELDS = ("matchers", "starts_at", "ends_at", *WEEKLY_FIELDS, "time_zone")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a silence would have matched.

    Attributes:
        since: start of the time that was looked at.
        matched: how many alerts.
        in_window: how many of them came within the weekly window; None for a silence without one.
        alerts: the latest of the matched ones, the newest first.
        complete: False if there were more alerts than a preview reads.
        firing: how many of the matched ones fire now.
        storms: the open storms that some of those are in, the latest first, at most `PREVIEW_SHOWN`.
        storms_open: how many there are.
    """

    since: datetime
    matched: int
    in_window: int | None
    alerts: list[Alert]
    complete: bool
    firing: int
    storms: list[Storm]
    storms_open: int


def create_silence(*, silence: Silence, author: str) -> Silence:
    """Check and insert it; it holds from the next webhook on.

    Raises: django.core.exceptions.ValidationError by field.
    """
    silence.author = author
    silence.full_clean()
    check_silence(silence)
    with transaction.atomic():
        silence.save(force_insert=True)
        audit.record(
            action=AuditAction.SILENCE_CREATED,
            actor=author,
            target=silence,
            after={name: value for name in AUDITED_FIELDS if (value := getattr(silence, name)) not in (None, [], "")},
            detail=silence.comment,
        )
    logger.info("silence %s of %s created by %s", silence.pk, silence, author)
    return silence


def check_silence(silence: Silence) -> None:
    """What the fields cannot check one by one. Raises: ValidationError by field."""
    errors: dict[str, str] = {}
    if silence.matchers and _matches_everything(silence.matchers):
        # Alertmanager's rule: such a silence is a mistake, and a costly one.
        errors["matchers"] = 'at least one matcher must not match the empty value: write alertname="..." or the like'
    if silence.ends_at is not None and silence.starts_at is not None:
        if silence.ends_at <= silence.starts_at:
            errors["ends_at"] = "the end must be after the start"
        elif silence.ends_at <= timezone.now():
            errors["ends_at"] = "the end has passed already"
    given = [name for name in WEEKLY_FIELDS if getattr(silence, name) not in (None, [], "")]
    for name in WEEKLY_FIELDS:
        if given and name not in given:
            errors[name] = "a weekly window needs its weekdays, its start and its length"
    if len(set(silence.weekdays)) != len(silence.weekdays):
        errors["weekdays"] = "a weekday is named twice"
    if errors:
        raise ValidationError(errors)


def _matches_everything(text: str) -> bool:
    try:
        return all(matcher.matches({}) for matcher in parse_matchers(text))
    except MatcherError:
        return False  # the field's own validator says why


@transaction.atomic
def expire_silence(*, silence: Silence, actor: str) -> bool:
    """End it now, from the next webhook on; one that has not started never does. False if it had ended already."""
    now = timezone.now()
    stored = Silence.objects.select_for_update().filter(Q(ends_at__isnull=True) | Q(ends_at__gt=now), pk=silence.pk)
    row = stored.first()
    if row is None:
        return False
    before = row.ends_at
    row.starts_at, row.ends_at = min(row.starts_at, now), now
    row.save(update_fields=["starts_at", "ends_at"])
    audit.record(
        action=AuditAction.SILENCE_ENDED, actor=actor, target=row, before={"ends_at": before}, after={"ends_at": now}
    )
    silence.starts_at, silence.ends_at = row.starts_at, row.ends_at
    logger.info("silence %s of %s ended by %s", row.pk, row, actor)
    return True


def preview_silence(*, silence: Silence, most: int = PREVIEW_READ) -> Preview:
    """The alerts of the last day that its matchers match, whatever became of them; it may be unsaved.

    Of more than `most` candidates the latest are read. An alert is one episode and counted when it was first received;
    one never seen firing is left out.

    Raises: django.core.exceptions.ValidationError for its matchers or an incomplete weekly window.
    """
    silence.clean_fields(exclude=["author", "comment"])
    check_silence(silence)
    compiled = compile_silence(silence)
    since = timezone.now() - PREVIEW_TIME
    candidates = Alert.objects.filter(received_at__gte=since).exclude(disposition=Disposition.RESOLVED_UNSEEN)
    # What PostgreSQL can rule out it need not send; an empty value would also stand for a missing label.
    for matcher in compiled.matchers:
        if matcher.op == "=" and matcher.value:
            candidates = candidates.filter(labels__contains={matcher.name: matcher.value})
    read = matched = in_window = firing = 0
    latest: list[UUID] = []
    storm_ids: set[UUID] = set()
    rows = candidates.order_by("-received_at", "-id").values_list("id", "labels", "received_at", "status", "storm_id")
    for id_, labels, received_at, status, storm_id in rows[:most].iterator(chunk_size=2000):
        read += 1
        if compiled.matches(labels):
            matched += 1
            in_window += compiled.weekly is not None and compiled.weekly.contains(received_at)
            if matched <= PREVIEW_SHOWN:
                latest.append(id_)
            if status == AlertStatus.FIRING:
                firing += 1
                storm_ids.update({storm_id} - {None})
    storms = Storm.objects.filter(id__in=storm_ids, state=StormState.OPEN)
    return Preview(
        since=since,
        matched=matched,
        in_window=in_window if compiled.weekly is not None else None,
        alerts=list(Alert.objects.filter(id__in=latest).order_by("-received_at", "-id")),
        complete=read < most,
        firing=firing,
        storms=list(storms.order_by("-opened_at", "-id")[:PREVIEW_SHOWN]),
        storms_open=storms.count(),
    )
