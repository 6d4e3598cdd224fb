"""Template helpers of the console's pages; `static/console/time.js` speaks the same words."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from storms import figures, heatmap, hostile
from storms.choices import AuditAction
from storms.heatmap import Cell
from storms.models import AuditEntry, Storm
from storms.rate import Rate, rate_of
from storms.yaml_text import yaml_text

register = template.Library()
for _filter in (figures.percent, figures.reduction, figures.each):
    register.filter(_filter)

MINUTE, HOUR, DAY = 60, 3_600, 86_400
NO_COUNTDOWN = SafeString('<time data-until datetime=""></time>')
EMPTY_TIME = SafeString('<time data-ago datetime=""></time>')


def span(seconds: float) -> str:
    """A span of time in a word or two: `12 s`, `4 min`, `3 h 10 min`, `2 d 4 h`."""
    whole = max(int(seconds), 0)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return _two(whole, HOUR, "h", MINUTE, "min")
    return _two(whole, DAY, "d", HOUR, "h")


def _two(whole: int, big: int, big_name: str, small: int, small_name: str) -> str:
    rest = whole % big // small
    return f"{whole // big} {big_name} {rest} {small_name}" if rest else f"{whole // big} {big_name}"


@register.filter
def duration(seconds: float) -> str:
    return span(seconds)


@register.simple_tag
def ago(moment: datetime | str | None) -> SafeString:
    """`<time>` with how long ago, the exact moment on hover; the page's script keeps it true."""
    time = parse_datetime(moment) if isinstance(moment, str) else moment
    if time is None:
        return EMPTY_TIME
    words = f"{span((timezone.now() - time).total_seconds())} ago"
    return format_html('<time data-ago datetime="{}" title="{}">{}</time>', time.isoformat(), exact(time), words)


@register.simple_tag
def until(moment: datetime | str | None) -> SafeString:
    """`<time>` with how long until then (`in 6 s`, `now`); the page's script counts down."""
    time = parse_datetime(moment) if isinstance(moment, str) else moment
    if time is None:
        return NO_COUNTDOWN
    left = (time - timezone.now()).total_seconds()
    words = f"in {span(left)}" if left >= 1 else "now"
    return format_html('<time data-until datetime="{}" title="{}">{}</time>', time.isoformat(), exact(time), words)


@register.simple_tag
def stamp(moment: datetime, words: str = "") -> SafeString:
    """`<time>` with the moment itself, in `words` or to the second; in the reader's time zone on hover."""
    said = exact(moment)
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), said, words or said)


@register.filter
def web_link(url: str) -> str:
    """The address, or '' unless it is one that a page may link to: `{% with url=x|web_link %}{% if url %}...`."""
    return hostile.web_link(url)


@register.filter
def exact(moment: datetime) -> str:
    """`2026-11-16 10:30:00 UTC`."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


@register.filter
def moment(iso: str | None) -> str:
    """A document's time: `2026-11-16 10:30:00`."""
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M:%S}" if iso else ""


@register.filter
def spaced(value: str) -> str:
    """`resolved_while_held` as people write it."""
    return value.replace("_", " ")


@register.filter
def clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"


@register.filter
def told(event: Any) -> str:
    """What an event says beside its kind, which stands before it: `Closed` and `quiet: no new alert`."""
    label, message = str(event.get_kind_display()), str(event.message)
    rest = message.removeprefix(label)
    return rest.lstrip(": ") if rest[:1] in ("", ":", " ") else message


@register.filter
def as_yaml(value: Any) -> str:
    return yaml_text(value)


@register.filter
def as_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


@register.filter
def rate(recent: Mapping[str, Any]) -> Rate:
    """The rate of a storm's `recent` now."""
    return rate_of(recent, timezone.now().timestamp())


@register.filter
def share(part: int, whole: int) -> int:
    """`part` of `whole` in percent, 0 to 100, for a bar's length."""
    return min(round(100 * part / whole), 100) if whole else 0


@register.filter
def percent_of(part: int, whole: int) -> str:
    """`part` of `whole`, which is not 0, as `percent` writes it."""
    return figures.percent(min(part / whole, 1))


@register.filter
def times(factor: float) -> str:
    """`1.8`, `12` or `1,900`, and the sign for times."""
    if factor < 9.95:
        return f"{factor:.1f}\u00d7"
    return f"{factor:.0f}\u00d7" if factor < 1_000 else f"{round(factor, -2):,.0f}\u00d7"


@register.filter
def who(storm: dict[str, Any]) -> str:
    """Who has a storm (of `live.storm_message`): `assigned to ada`, `acknowledged by ada`, `nobody has it yet`."""
    if storm["assignee"]:
        return f"assigned to {storm['assignee']}"
    if storm["acknowledged_by"]:
        return f"acknowledged by {storm['acknowledged_by']}"
    return "" if storm["state"] == "closed" else "nobody has it yet"


@register.filter
def lasted(storm: Storm) -> str:
    """How long a closed storm was open."""
    return span((storm.closed_at - storm.opened_at).total_seconds()) if storm.closed_at else ""


@register.filter
def lasting(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)


@register.filter
def figure(value: float | None) -> str:
    """With one decimal where it has one: `12`, `28.7`; `-` for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() or value >= 1000 else f"{value:,.1f}"


@register.filter
def first_value(labels: dict[str, str]) -> str:
    """The value that tells a group from the others, for a search."""
    return next((value for value in labels.values() if value), "")


@register.filter
def words(text: str) -> list[str]:
    return text.split()


@register.filter
def item(mapping: Mapping[str, Any], key: str) -> Any:
    return mapping.get(key, "")


@register.simple_tag
def day_cell(cell: Cell, days_url: str, chosen: date | None) -> SafeString:
    """A day of the heat map: a square, and if it had storms a link to them. There are hundreds of them on a page."""
    inside = SafeString(" data-inside") if cell.is_inside else ""
    square = format_html(
        '<rect class="day" data-level="{}"{} x="{}" y="{}" width="{}" height="{}" rx="3"><title>{}</title></rect>',
        *(cell.level, inside, cell.x, cell.y, heatmap.SIZE, heatmap.SIZE, cell.words),
    )
    if not cell.figures.storms:
        return square
    return format_html(
        '<a href="{}{}#storms" data-day="{}" data-x="{}" data-y="{}" aria-label="{}"{}>{}</a>',
        *(days_url, cell.iso, cell.iso, cell.x, cell.y, cell.words),
        *(SafeString(' aria-current="true"') if cell.day == chosen else "", square),
    )


@register.filter
def since(moment: datetime, now: datetime) -> str:
    """The time from then to `now`, in words."""
    return span((now - moment).total_seconds())


@register.simple_tag
def rate_bars(counts: Sequence[int]) -> SafeString:
    """Counts as bars, the latest on the right, for the eye alone: the number stands beside them."""
    most = max(counts, default=0)
    bars = format_html_join(
        "",
        '<rect x="{}" y="{}" width="4" height="{}"/>',
        (
            (position * 5, 20 - height, height)
            for position, count in enumerate(counts)
            if count and (height := max(round(19 * count / most), 1))
        ),
    )
    return format_html(
        '<svg viewBox="0 0 {} 20" aria-hidden="true"><line x1="0" x2="{}" y1="19.5" y2="19.5"/>{}</svg>',
        *(len(counts) * 5, len(counts) * 5, bars),
    )


@register.filter
def action_words(entry: AuditEntry) -> str:
    """`policy edited`; the name itself of an action that there is no more."""
    action = next((action for action in AuditAction if action == entry.action), None)
    return action.label.lower() if action else entry.action
