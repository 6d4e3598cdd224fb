"""`/alerts/`: the explorer over all alerts; what it draws and completes from is in `storms.pages.alerts_data`."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.apps import apps
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse

from storms import alert_columns
from storms.alert_columns import Column
from storms.alert_filter import BETWEEN, DEFAULT_RANGE, ONE, SEVERAL, AlertFilter, only_filters
from storms.alert_scan import Order, Position, TooSlow, bounded, scan
from storms.choices import AlertStatus
from storms.label_completion import frequent_names
from storms.matchers import Matcher, MatcherError, is_label_name, parse_matchers
from storms.models import Alert, SavedFilter, StormPolicy
from storms.moments import in_utc
from storms.pages.decorators import console_page
from storms.pages.parts import is_part
from storms.services.saved_filters import SHARE

SIZE = 50
CHOICES_SHOWN = 200
"""Most receivers and policies in a list."""
SAVED_SHOWN = 100
TIME = ("range", "from", "to", "tz")
WAITING = ("older", "newer", "part", "size")
"""Parameters of where one is in the list, not of what it shows."""


@console_page("storms.view_alert")
def alerts(request: HttpRequest) -> HttpResponse:
    """The page; for htmx only its results, or (`part=rows`) the rows that a bounded search goes on with."""
    explorer = Explorer(request)
    part = is_part(request)
    if part and request.GET.get("part") == "rows":
        return render(request, "console/_alerts_rows.html", explorer.results())
    context = explorer.results() | {"filter": explorer.filter, "saved": _saved(request)}
    if part:
        return render(request, "console/_alerts_results.html", context)
    return render(request, "console/alerts.html", context | _choices(request, explorer))


class Explorer:
    """One request: the filter of its address, and the results."""

    def __init__(self, request: HttpRequest) -> None:
        self.params = request.GET
        self.user = request.user
        self.filter = AlertFilter(request.GET)
        self.is_valid = self.filter.is_valid()
        self.columns = alert_columns.columns(request.GET.getlist("col"), request.user)
        self.saved_query = _without(request.GET, *WAITING).urlencode()

    def results(self) -> dict[str, Any]:
        """What the templates show; without rows where the filter is not valid or PostgreSQL too slow."""
        filtered = only_filters(self.params)
        context = {
            "is_valid": self.is_valid,
            "columns": self.columns,
            "column_choices": _column_choices(self.columns),
            "filter_pairs": [(name, value) for name, values in filtered.lists() for value in values],
            "query": self.saved_query,
            "filter_query": filtered.urlencode(),
            "chips": list(self._chips()) if self.is_valid else [],
            "first_url": _address(_without(self.params, *WAITING)),
            "goes_on": self._goes_on(),
            "wider": "".join(f"{part}&" for part in [_without(self.params, *WAITING, *TIME).urlencode()] if part),
            "api_url": api_address(self.filter) if self.is_valid else "",
        }
        if not self.is_valid:
            return context | {"matchers_error": self.filter.matchers_error()}
        newer = _position(self.params.get("newer", ""))
        older = _position(self.params.get("older", ""))
        try:
            with bounded():
                return context | self._page(newer, older)
        except TooSlow:
            return context | {"too_slow": True}

    def time(self) -> dict[str, Any]:
        """The time range as the form shows it: as it was typed, or in the zone that the address names."""
        data = self.filter.cleaned_data if self.is_valid else {}
        zone = data.get("tz") or ZoneInfo("UTC")
        between = {name: self.params.get(name, "") for name in ("from", "to")}
        if data.get("range") == BETWEEN:
            between = {name: _local(data[name], zone) for name in between}
        chosen = data.get("range") or self.params.get("range") or DEFAULT_RANGE
        return {"zone": zone.key, "between": between, "chosen_range": chosen}

    def _page(self, newer: Position | None, older: Position | None) -> dict[str, Any]:
        order = Order(descending=newer is None)
        found = scan(self.filter.wanted(), after=newer or older, size=self._size(), order=order)
        shown = _read(found.ids if newer is None else found.ids[::-1])
        first, last = (_place(shown[0]), _place(shown[-1])) if shown else (None, None)
        context = {"rows": [(alert, alert_columns.cells(alert, self.columns)) for alert in shown], "shown": len(shown)}
        if newer is not None:
            further = first and (found.more or found.stopped)
            return context | {"newer_url": self._at(newer=first) if further else "", "older_url": self._at(older=last)}
        context["newer_url"] = self._at(newer=first) if older and first and not self._goes_on() else ""
        if found.stopped is None:
            return context | {"older_url": self._at(older=last) if found.more else ""}
        return context | {
            "stopped_at": found.stopped.value,
            "go_on_url": self._at(older=found.stopped),
            "go_on_rows": self._at(older=found.stopped, part="rows", size=str(self._size() - len(shown))),
        }

    def _goes_on(self) -> bool:
        """Whether these rows are put behind others, by a search that goes on."""
        return self.params.get("part") == "rows"

    def _size(self) -> int:
        size = self.params.get("size", "")
        return int(size) if size.isascii() and size.isdigit() and 0 < int(size) < SIZE else SIZE

    def _at(self, **where: Position | str | None) -> str:
        params = _without(self.params, *WAITING)
        for name, value in where.items():
            if value is not None:
                params[name] = value if isinstance(value, str) else f"{value.value.isoformat()}~{value.id}"
        return _address(params)

    def _chips(self) -> Iterable[dict[str, str]]:
        """{text, url}: each condition with the address without it."""
        data = self.filter.cleaned_data
        for matcher in data["q"]:
            others = [other for other in data["q"] if other is not matcher]
            yield {"text": str(matcher), "url": self._with("q", [written(others)])}
        if data["range"] == BETWEEN:
            yield {"text": _between(data), "url": self._with("range", [], "from", "to", "tz")}
        for name in SEVERAL:
            for value in data[name]:
                rest = [other for other in data[name] if other != value]
                yield {"text": f"{name}: {value}", "url": self._with(name, rest)}
        for name in ONE:
            if data[name]:
                yield {"text": f"{name}: {self._named(name, data[name])}", "url": self._with(name, [])}

    def _named(self, name: str, value: Any) -> str:
        if name == "policy":
            return StormPolicy.objects.filter(id=value).values_list("name", flat=True).first() or f"{value} (deleted)"
        return str(value)[:13] + "…" if name == "fingerprint" else str(value)

    def _with(self, name: str, values: list[str], *without: str) -> str:
        params = _without(self.params, *WAITING, *without)
        params.setlist(name, [value for value in values if value])
        return _address(params)


def written(matchers: Iterable[Matcher]) -> str:
    """As the field shows them; "" for none."""
    text = ", ".join(str(matcher) for matcher in matchers)
    return f"{{{text}}}" if text else ""


def alerts_like(**labels: str) -> str:
    """The explorer's address for alerts of the last 30 days with these labels."""
    matchers = [Matcher(name, "=", value) for name, value in labels.items()]
    params = QueryDict(mutable=True)
    params.update({"q": written(matchers), "range": "30d"})
    return _address(params)


def alerts_with(name: str, value: str, **where: str) -> str:
    """The explorer's address for alerts with this label and what else it filters by; "" if matchers cannot name it."""
    if not is_label_name(name):
        return ""
    params = QueryDict(mutable=True)
    params.update({"q": written([Matcher(name, "=", value)]), **where})
    return _address(params)


def api_address(filter_: AlertFilter) -> str:
    """The same filter in the API; a relative time is fixed to now."""
    data = filter_.cleaned_data
    params = QueryDict(mutable=True)
    if data["q"]:
        params["matchers"] = written(data["q"])
    for name in ("status", "storm", "receiver", "policy", "silence", "fingerprint"):
        if data[name]:
            params[name] = str(data[name])
    for name in SEVERAL:
        params.setlist(name, data[name])
    for name, bound in (("received_after", data["from"]), ("received_before", data["to"])):
        if bound:
            params[name] = bound.isoformat()
    return f"{reverse('alert-list')}?{params.urlencode()}"


def with_matcher(params: QueryDict, name: str, value: str) -> str:
    """The address with one matcher more, in place of one on the same label."""
    try:
        matchers = [matcher for matcher in parse_matchers(params.get("q", "")) if matcher.name != name]
    except MatcherError:
        matchers = []
    narrowed = _without(params, *WAITING)
    narrowed["q"] = written([*matchers, Matcher(name, "=", value)])
    return _address(narrowed)


def _read(ids: list[UUID]) -> list[Alert]:
    """The rows in the order of the ids."""
    rows = Alert.objects.filter(id__in=ids).select_related("storm", "policy")
    by_id = {row.id: row for row in rows.defer("annotations", "storm__alert_names", "storm__places")}
    return [by_id[id_] for id_ in ids if id_ in by_id]


def _column_choices(chosen: list[Column]) -> list[tuple[Column, bool]]:
    """(column, whether it is shown): the chosen ones in their order, then the fields, then the most frequent labels."""
    labels = [Column(name) for name in frequent_names()]
    known = dict.fromkeys([*chosen, *(Column(key) for key in alert_columns.FIELDS), *labels])
    return [(column, column in chosen) for column in known]


def _place(alert: Alert) -> Position:
    return Position(alert.received_at, alert.id)


def _position(text: str) -> Position | None:
    """What `Explorer._at` wrote; None for anything else: the list begins at its start."""
    moment, _, key = text.partition("~")
    try:
        return Position(in_utc(datetime.fromisoformat(moment)), UUID(key))
    except ValueError:
        return None


def _without(params: QueryDict, *names: str) -> QueryDict:
    kept = params.copy()
    for name in names:
        kept.pop(name, None)
    return kept


def _address(params: QueryDict) -> str:
    query = params.urlencode()
    return reverse("alerts") + (f"?{query}" if query else "")


def _local(moment: datetime | None, zone: ZoneInfo) -> str:
    """As an input of a local time takes it, without seconds where there are none."""
    if moment is None:
        return ""
    return moment.astimezone(zone).replace(tzinfo=None).isoformat(timespec="seconds" if moment.second else "minutes")


def _between(data: dict[str, Any]) -> str:
    zone = data["tz"] or ZoneInfo("UTC")
    bounds = [f"{bound.astimezone(zone):%Y-%m-%d %H:%M}" if bound else "…" for bound in (data["from"], data["to"])]
    return f"received from {bounds[0]} to {bounds[1]} ({zone.key})"


def _saved(request: HttpRequest) -> dict[str, Any]:
    """The person's own filters and those that others share."""
    known = SavedFilter.objects.filter(Q(owner=request.user.pk) | Q(shared=True)).select_related("owner")
    return {"filters": list(known.order_by("name", "id")[:SAVED_SHOWN]), "may_share": request.user.has_perm(SHARE)}


def _choices(request: HttpRequest, explorer: Explorer) -> dict[str, Any]:
    """What the form offers. `storms` does not import `ingestion`, so its receivers are asked for by name."""
    receivers = apps.get_model("ingestion", "Receiver").objects.order_by("name").values_list("name", flat=True)
    several = [
        (
            name,
            choices.__name__,
            [(value, label, value in request.GET.getlist(name)) for value, label in choices.choices],
        )
        for name, choices in SEVERAL.items()
    ]
    more = ("outcome", "disposition", "receiver", "policy", "storm", "silence")
    return {
        "receivers": receivers[:CHOICES_SHOWN],
        "policies": StormPolicy.objects.order_by("name").values("id", "name")[:CHOICES_SHOWN],
        "statuses": AlertStatus.choices,
        "several": several,
        "more_open": any(request.GET.get(name) for name in (*more, "severity")),
        "asked_columns": request.GET.getlist("col"),
        **explorer.time(),
    }
