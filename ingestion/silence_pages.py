"""`/silences/`: what is silenced, until when; operators make silences, like a storm or an alert, and end them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone

from ingestion.models import Silence
from ingestion.silence_like import Label, Like, like_alert, like_storm
from ingestion.silence_services import create_silence, expire_silence, preview_silence
from ingestion.silences import compile_silence, in_state, state_of, weekly_window
from storms.models import Alert, Storm
from storms.pages.decorators import console_action, console_page
from storms.pages.keyset import keyset_page
from storms.validators import validate_matchers

VIEW, ADD, CHANGE = "ingestion.view_silence", "ingestion.add_silence", "ingestion.change_silence"
PAGE_SIZE = 50
STATES = {"active": "Active", "pending": "Not started", "expired": "Ended"}
DURATIONS = {
    15: "15 minutes",
    60: "1 hour",
    120: "2 hours",
    240: "4 hours",
    480: "8 hours",
    1_440: "1 day",
    4_320: "3 days",
    10_080: "1 week",
}
USUAL_MINUTES = 120
PREVIEW_READ = 20_000
"""It is asked for while one types: so many alerts are read in a fifth of a second or so."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A silence as the page lists it; `when` is its weekly window in words, "" without one."""

    silence: Silence
    state: str
    in_force: bool
    when: str


class SilenceForm(forms.Form):
    matchers = forms.CharField(max_length=10_000, strip=True, validators=[validate_matchers])
    minutes = forms.TypedChoiceField(choices=list(DURATIONS.items()), coerce=int, initial=USUAL_MINUTES)
    comment = forms.CharField(max_length=500, strip=True)


@console_page(VIEW)
def silences(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    state = request.GET.get("state", "")
    state = state if state in STATES else "active"
    page = keyset_page(request, Silence.objects.filter(in_state(state, now)), ordering="-created_at", size=PAGE_SIZE)
    context = {
        "state": state,
        "states": STATES,
        "page": page,
        "rows": [_shown(silence, now) for silence in page.rows],
        "can_add": request.user.has_perm(ADD),
        "can_end": request.user.has_perm(CHANGE) and state != "expired",
    }
    return render(request, "console/silences.html", context)


def _shown(silence: Silence, now: datetime) -> Shown:
    weekly = weekly_window(silence)
    return Shown(silence, state_of(silence, now), compile_silence(silence).in_force(now), str(weekly or ""))


@console_page(ADD)
def new(request: HttpRequest) -> HttpResponse:
    """Filled in by `matchers`, or by `storm` or `alert` for a silence like it."""
    like = _like(request)
    given = request.GET.get("matchers")
    matchers = given if given is not None else like.matchers if like else ""
    minutes = request.GET.get("minutes", "")
    initial = {
        "matchers": matchers,
        "minutes": minutes if minutes in map(str, DURATIONS) else USUAL_MINUTES,
        "comment": request.GET.get("comment", ""),
    }
    return _render_form(request, SilenceForm(initial=initial), like, matchers)


@console_page(ADD)
def preview(request: HttpRequest) -> HttpResponse:
    """What such a silence would match; a part of the form's page, which asks for it while one types."""
    context = _previewed(request, request.GET.get("matchers", ""))
    return render(request, "console/_silence_preview.html", context)


@console_action(ADD, page="silences")
def create(request: HttpRequest) -> HttpResponse:
    """Make it; with `preview` only say what it would match, for who has no JavaScript."""
    form = SilenceForm(request.POST)
    if "preview" in request.POST:
        form = SilenceForm(initial={name: request.POST.get(name, "") for name in form.fields})
        return _render_form(request, form, _like(request), request.POST.get("matchers", ""))
    if form.is_valid():
        silence = Silence(
            matchers=form.cleaned_data["matchers"],
            ends_at=timezone.now() + timedelta(minutes=form.cleaned_data["minutes"]),
            comment=form.cleaned_data["comment"],
        )
        try:
            create_silence(silence=silence, author=request.user.get_username())
        except ValidationError as error:
            for field, errors in error.message_dict.items():
                form.add_error(field if field in form.fields else None, errors)
        else:
            messages.success(request, "Silenced: it holds from the next alert on.")
            return HttpResponseRedirect(reverse("silences"))
    return _render_form(request, form, _like(request), form.data.get("matchers", ""), status=400)


@console_action(CHANGE, page="silences")
def expire(request: HttpRequest, silence_id: int) -> HttpResponse:
    silence = get_object_or_404(Silence, id=silence_id)
    if expire_silence(silence=silence, actor=request.user.get_username()):
        messages.success(request, "Ended: it silences nothing from the next alert on.")
    else:
        messages.info(request, "It had ended already.")
    return HttpResponseRedirect(reverse("silences"))


def _render_form(
    request: HttpRequest, form: SilenceForm, like: Like | None, matchers: str, *, status: int = 200
) -> HttpResponse:
    context = {"form": form, "matchers": matchers, "like": like, "more": _narrower(like, matchers)}
    if "preview" in request.POST:
        context |= {"asked": True} | _previewed(request, matchers)
    return render(request, "console/silence_new.html", context, status=status)


def _narrower(like: Like | None, matchers: str) -> list[tuple[Label, str]]:
    """Labels to add, each with the address of the form with it."""
    if like is None:
        return []
    return [(label, "?" + urlencode({**like.query, "matchers": label.added_to(matchers)})) for label in like.labels]


def _previewed(request: HttpRequest, matchers: str) -> dict[str, Any]:
    """`preview`, or `problems` in words where these matchers make no silence."""
    matchers = matchers.replace("\x00", "").strip()
    if not matchers:
        return {"problems": ["Write at least one matcher."]}
    try:
        found = preview_silence(silence=Silence(matchers=matchers), most=PREVIEW_READ)
    except ValidationError as error:
        return {"problems": [words for errors in error.message_dict.values() for words in errors]}
    sees_alerts = request.user.has_perm("storms.view_alert")
    return {"preview": found, "sees_alerts": sees_alerts}


def _like(request: HttpRequest) -> Like | None:
    """The storm or the alert that the silence is to be like; None for one that is not, or may not be seen."""
    asked = request.GET if request.method == "GET" else request.POST
    if (storm_id := _uuid(asked.get("storm", ""))) and request.user.has_perm("storms.view_alert"):
        storm = Storm.objects.filter(id=storm_id).first()
        return like_storm(storm) if storm else None
    if (alert_id := _uuid(asked.get("alert", ""))) and request.user.has_perm("storms.view_alert"):
        alert = Alert.objects.filter(id=alert_id).first()
        return like_alert(alert) if alert else None
    return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
