"""`/system/dead-letters/`: what was set aside and why; operators replay and discard it here."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse

from ingestion import dead_letter_services as services
from ingestion.dead_letter_services import LetterError
from ingestion.filters import DeadLetterFilter
from ingestion.models import DeadLetter, LetterState, Reason, Receiver
from storms.models import Alert
from storms.pages.decorators import console_action, console_page
from storms.pages.parameters import whole_number
from storms.queue import enqueue_replays

VIEW, HANDLE = "ingestion.view_deadletter", "ingestion.change_deadletter"
PAGE = "dead-letters"
PAGE_SIZE = 25
COUNTED = 10_000
"""More than so many are not counted, but said to be more."""
RECEIVERS_SHOWN = 200
FIELDS = ("state", "receiver", "reason", "error")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the page's form asks for: one value each, "" for any."""

    state: str
    receiver: str
    reason: str
    error: str

    @classmethod
    def from_query(cls, query: QueryDict) -> "Choice":
        """Without a state those that wait; one that there is not counts as any."""
        values = {name: query.get(name, "").replace("\x00", "").strip() for name in FIELDS}
        values["state"] = _known(query.get("state", LetterState.WAITING), LetterState.values)
        values["reason"] = _known(values["reason"], Reason.values)
        return cls(**values)

    @property
    def fields(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in FIELDS}

    def letters(self) -> QuerySet[DeadLetter]:
        """Newest first."""
        data = QueryDict(mutable=True)
        data.update({name: value for name, value in self.fields.items() if value})
        chosen: QuerySet[DeadLetter] = DeadLetterFilter(data, DeadLetter.objects.all()).qs
        return chosen.order_by("-id")


@console_page(VIEW)
def dead_letters(request: HttpRequest) -> HttpResponse:
    choice = Choice.from_query(request.GET)
    letters = choice.letters()
    # Retention may have deleted the alert that a letter became.
    there = Exists(Alert.objects.filter(id=OuterRef("alert_id")))
    rows = _before(request, letters).select_related("receiver", "delivery").annotate(alert_is_there=there)
    page = list(rows[: PAGE_SIZE + 1])
    more, page = len(page) > PAGE_SIZE, page[:PAGE_SIZE]
    waiting = _waiting()
    context = {
        "choice": choice,
        "query": urlencode(choice.fields),
        "letters": [(letter, pretty(letter.raw)) for letter in page],
        "next": page[-1].id if more else None,
        "is_first": "before" not in request.GET,
        "waiting": waiting,
        "waiting_total": sum(row["count"] for row in waiting),
        "overflows": services.overflows(),
        "most": settings.MAX_DEAD_LETTERS,
        "states": LetterState.choices,
        "reasons": Reason.choices,
        "receivers": Receiver.objects.order_by("name").values_list("name", flat=True)[:RECEIVERS_SHOWN],
        "can_handle": request.user.has_perm(HANDLE),
        "max_comment": services.MAX_COMMENT,
    }
    if context["can_handle"] and choice.state in ("", LetterState.WAITING):
        # Not `letters`: "any state" lists more than what can be handled.
        chosen = services.waiting(letters).order_by()[: COUNTED + 1].count()
        context |= {"chosen": min(chosen, COUNTED), "chosen_more": chosen > COUNTED}
    return render(request, "console/dead_letters.html", context)


def _before(request: HttpRequest, letters: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
    asked = request.GET.get("before", "")
    if not asked:
        return letters
    before = whole_number(asked)
    if before is None:
        raise Http404
    return letters.filter(id__lt=before)


def _waiting() -> list[dict[str, Any]]:
    """[{receiver, reason, count}] of what waits, the most first."""
    rows = DeadLetter.objects.filter(state=LetterState.WAITING).values("receiver__name", "reason")
    counted = rows.annotate(count=Count("id")).order_by("-count", "receiver__name", "reason")
    return [
        {"receiver": row["receiver__name"] or "", "reason": Reason(row["reason"]), "count": row["count"]}
        for row in counted
    ]


def pretty(raw: str) -> str:
    """JSON with its structure in sight; what is none as it came."""
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return raw


@console_action(HANDLE, PAGE)
def replay(request: HttpRequest, letter_id: int) -> HttpResponse:
    try:
        letter = services.replay(letter_id=letter_id, actor=request.user.get_username())
    except DeadLetter.DoesNotExist as error:
        raise Http404 from error
    except LetterError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Replayed: {letter.get_outcome_display().lower()}.")
    return _back(request)


@console_action(HANDLE, PAGE)
def discard(request: HttpRequest, letter_id: int) -> HttpResponse:
    try:
        services.discard(
            letter_id=letter_id, comment=request.POST.get("comment", ""), actor=request.user.get_username()
        )
    except DeadLetter.DoesNotExist as error:
        raise Http404 from error
    except LetterError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Discarded.")
    return _back(request)


@console_action(HANDLE, PAGE)
def replay_all(request: HttpRequest) -> HttpResponse:
    letters = Choice.from_query(QueryDict(_back_query(request))).letters().order_by()
    queued = services.queue_replays(letters=letters, actor=request.user.get_username())
    enqueue_replays()
    messages.success(request, f"{queued} are being replayed: reload the page to see what became of them.")
    return _back(request)


@console_action(HANDLE, PAGE)
def discard_all(request: HttpRequest) -> HttpResponse:
    letters = Choice.from_query(QueryDict(_back_query(request))).letters().order_by()
    comment = request.POST.get("comment", "")
    try:
        discarded = services.discard_all(letters=letters, comment=comment, actor=request.user.get_username())
    except LetterError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{discarded} discarded.")
    return _back(request)


def _back_query(request: HttpRequest) -> str:
    return request.POST.get("back", "")


def _back(request: HttpRequest) -> HttpResponse:
    """The page that the form was on; only its query is taken over."""
    query = Choice.from_query(QueryDict(_back_query(request))).fields
    return HttpResponseRedirect(f"{reverse(PAGE)}?{urlencode(query)}")


def _known(value: str, values: list[str]) -> str:
    return value if value in values else ""
