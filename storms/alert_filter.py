"""What one asks the explorer for, as the address says it: matchers, a time range, and conditions on fields."""

from datetime import datetime, timedelta
from functools import reduce
from operator import and_
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from storms.alert_scan import Wanted
from storms.choices import AlertStatus, Disposition, Outcome, Severity
from storms.matchers import Matcher, MatcherError, parse_matchers, position_of
from storms.models import Alert
from storms.moments import in_utc

RANGES = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
    "all": ("All time", None),
}
BETWEEN = "between"
DEFAULT_RANGE = "24h"
MAX_MATCHERS_TEXT = 4_000
FIELDS = (
    *("q", "range", "from", "to", "tz", "status", "severity", "outcome", "disposition"),
    *("storm", "receiver", "policy", "silence", "fingerprint"),
)
"""The parameters that filter; what else stands in an address is how to show it."""

SEVERAL = {"severity": Severity, "outcome": Outcome, "disposition": Disposition}
ONE = {
    "storm": "storm_id",
    "fingerprint": "fingerprint",
    "status": "status",
    "receiver": "receiver",
    "policy": "policy_id",
    "silence": "silence_id",
}
"""Parameters that take one value, and their columns."""
INDEXED_LABELS = ("alertname", "namespace")
MAX_COLUMN = 512
"""Of the columns `alertname` and `namespace`; a longer label is cut there."""


class MatchersField(forms.CharField):
    """Text to a tuple of matchers; the error's `params`: the text `before` the mistake, and the `rest` from it on."""

    def clean(self, value: Any) -> tuple[Matcher, ...]:
        text = super().clean(value)
        try:
            return parse_matchers(text)
        except MatcherError as error:
            at = position_of(error, text)
            split = {} if at is None else {"before": text[:at], "rest": text[at:]}
            # The message may hold a percent sign, which is none of a template's.
            raise ValidationError("%(message)s", params={"message": str(error), **split}) from error


class ZoneField(forms.CharField):
    """An IANA name to a time zone; what is none counts as UTC: it only says how times are meant."""

    def clean(self, value: Any) -> ZoneInfo:
        try:
            return ZoneInfo(super().clean(value) or "UTC")
        except (ValueError, KeyError, OSError):  # no name, an unknown one (ZoneInfoNotFoundError), a directory's
            return ZoneInfo("UTC")


YEARS = range(1970, 9999)
"""In which a time may be: then it is one in every zone."""


class MomentField(forms.CharField):
    """ISO 8601; without an offset it is meant in the form's zone, which `clean` applies."""

    def clean(self, value: Any) -> datetime | None:
        text = super().clean(value)
        try:
            moment = parse_datetime(text) if text else None
        except ValueError:
            moment = None
        if text and (moment is None or moment.year not in YEARS):
            raise ValidationError("not a time: write 2026-11-16T10:30")
        return moment


class AlertFilter(forms.Form):
    """Validates an address. A parameter that is missing does not filter, but for the time: the last 24 hours."""

    q = MatchersField(required=False, max_length=MAX_MATCHERS_TEXT)
    range = forms.ChoiceField(
        required=False, choices=[*((key, label) for key, (label, _) in RANGES.items()), (BETWEEN, "Between…")]
    )
    tz = ZoneField(required=False, max_length=64)
    status = forms.ChoiceField(required=False, choices=[("", "Any status"), *AlertStatus.choices])
    severity = forms.MultipleChoiceField(required=False, choices=Severity.choices)
    outcome = forms.MultipleChoiceField(required=False, choices=Outcome.choices)
    disposition = forms.MultipleChoiceField(required=False, choices=Disposition.choices)
    storm = forms.UUIDField(required=False)
    receiver = forms.CharField(required=False, max_length=100)
    policy = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    silence = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    fingerprint = forms.RegexField(r"[0-9a-f]{64}\Z", required=False)

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data)
        self.now = timezone.now()

    def clean(self) -> dict[str, Any]:
        """`from` and `to` become aware times in UTC, None where it is open there."""
        data: dict[str, Any] = self.cleaned_data
        chosen = data.get("range") or (BETWEEN if data.get("from") or data.get("to") else DEFAULT_RANGE)
        data["range"] = chosen
        if chosen == BETWEEN:
            for name in ("from", "to"):
                data[name] = _meant_in(data.get(name), data.get("tz") or ZoneInfo("UTC"))
            if data["from"] and data["to"] and data["from"] >= data["to"]:
                self.add_error("to", "the end must be after the start")
        else:
            ago = RANGES[chosen][1] if chosen in RANGES else None
            data["from"], data["to"] = (self.now - ago if ago else None), None
        return data

    def wanted(self) -> Wanted:
        """What to look for, of a valid form."""
        data = self.cleaned_data
        indexed, others = self._conditions()
        matchers = list(data["q"])
        if not indexed and (matcher := _indexed(matchers)) is not None:
            # The column says what the label says, so nothing is left to ask of it.
            indexed = Q(**{matcher.name: matcher.value})
            matchers.remove(matcher)
        rows = Alert.objects.filter(indexed)
        rows = rows.filter(received_at__gte=data["from"]) if data["from"] else rows
        rows = rows.filter(received_at__lt=data["to"]) if data["to"] else rows
        return Wanted(rows, others, matchers)

    def matchers_error(self) -> dict[str, str] | None:
        """{message, before, rest}: `rest` begins with the mistake; both "" where it is not known. None: no error."""
        for error in self.errors.as_data().get("q", ()):
            return {"before": "", "rest": "", "message": " ".join(error.messages)} | dict(error.params or {})
        return None

    def _conditions(self) -> tuple[Q, Q]:
        """(the one by which an index finds few alerts, if one is asked for; all others)."""
        data = self.cleaned_data
        asked = {name: Q(**{field: data[name]}) for name, field in ONE.items() if data[name]}
        asked |= {name: Q(**{f"{name}__in": data[name]}) for name in SEVERAL if data[name]}
        narrow = ["storm", "fingerprint"] + (["status"] if data["status"] == AlertStatus.FIRING else [])
        indexed = next((asked.pop(name) for name in narrow if name in asked), Q())
        return indexed, reduce(and_, asked.values(), Q())


def _indexed(matchers: list[Matcher]) -> Matcher | None:
    """The first that a column with an index answers exactly."""
    return next(
        (m for m in matchers if m.op == "=" and m.name in INDEXED_LABELS and 0 < len(m.value) < MAX_COLUMN), None
    )


# `from` is a word of Python's.
AlertFilter.base_fields |= {"from": MomentField(required=False), "to": MomentField(required=False)}


def _meant_in(moment: datetime | None, zone: ZoneInfo) -> datetime | None:
    if moment is None:
        return None
    return in_utc(moment if moment.tzinfo else moment.replace(tzinfo=zone))


def only_filters(params: QueryDict) -> QueryDict:
    """A copy with nothing but the parameters that filter, without empty ones."""
    kept = QueryDict(mutable=True)
    for name in FIELDS:
        if values := [value for value in params.getlist(name) if value]:
            kept.setlist(name, values)
    return kept
