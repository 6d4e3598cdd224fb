"""A report in words: the tiles on top of History, each with its change and what that means."""

from __future__ import annotations

from dataclasses import dataclass

from storms import figures
from storms.history import Report
from storms.statistics import Change, Intake, Summary, change
from storms.templatetags.console import figure, lasting, span

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Tile:
    """meaning: its definition. delta: the change in words, "" where there is none; verdict: better, worse or ""."""

    key: str
    title: str
    value: str
    detail: str
    meaning: str
    delta: str
    verdict: str


def tiles(report: Report) -> list[Tile]:
    now, then, came, came_before = report.now, report.then, report.intake_now, report.intake_then
    return [*_sizes(now, then), *_times(now, then), *_savings(now, then), _noise(came, came_before)]


def _sizes(now: Summary, then: Summary) -> list[Tile]:
    open_and_merged = [f"{now.still_open:,} still open"] if now.still_open else []
    open_and_merged += [f"{now.merged:,} merged away"] if now.merged else []
    return [
        _tile(
            "storms",
            "Storms",
            f"{now.storms:,}",
            ", ".join(open_and_merged),
            "Storms that opened in the period, without those merged into another.",
            change(now.storms, then.storms, up_is="worse"),
        ),
        _tile(
            "alerts",
            "Alerts in storms",
            f"{now.alerts:,}",
            f"the largest had {now.largest:,}" if now.largest else "",
            "Alert episodes that are members of those storms.",
            change(now.alerts, then.alerts, up_is="worse"),
        ),
        _tile(
            "size",
            "Alerts per storm",
            figure(now.mean_size),
            f"median {figure(now.median_size)}" if now.storms else "",
            "The mean; half of the storms have at most the median.",
            change(now.mean_size, then.mean_size),
        ),
    ]


def _times(now: Summary, then: Summary) -> list[Tile]:
    share = now.acknowledged_share
    return [
        _tile(
            "quiet",
            "Time to quiet",
            lasting(now.quiet_median),
            f"nine in ten within {lasting(now.quiet_p90)}" if now.quiet_p90 is not None else "",
            "The median from a storm's opening to its close. A storm closed by quiet counts its quiet time too.",
            change(now.quiet_median, then.quiet_median, up_is="worse"),
            is_time=True,
        ),
        _tile(
            "acknowledge",
            "Time to acknowledge",
            lasting(now.acknowledge_median),
            f"{now.acknowledged:,} of {now.storms:,} acknowledged ({percent(share)})" if share is not None else "",
            "The median from a storm's opening to its acknowledgement, of the storms that somebody acknowledged.",
            change(now.acknowledge_median, then.acknowledge_median, up_is="worse"),
            is_time=True,
        ),
    ]


def _savings(now: Summary, then: Summary) -> list[Tile]:
    return [
        _tile(
            "barely",
            "Barely storms",
            f"{now.barely:,}",
            f"{percent(now.barely_share)} of the storms" if now.storms else "",
            "Storms that are over and ended at most a fifth above their threshold: were they storms at all?",
            change(now.barely, then.barely, up_is="worse"),
        ),
        _tile(
            "saved",
            "Resources saved",
            f"{now.saved:,}",
            f"{now.alerts:,} alerts, {now.resources:,} resources" if now.storms else "",
            "Alerts of the storms, each of which would have been a resource, minus the resources made for them.",
            change(now.saved, then.saved),
        ),
    ]


def _noise(now: Intake, then: Intake) -> Tile:
    reduction, before = now.noise_reduction, then.noise_reduction
    moved = change(reduction, before, up_is="better")
    points = f"{arrow(moved.by)} {abs(moved.by) * 100:.1f} points" if moved and abs(moved.by) >= 0.0005 else ""
    return Tile(
        "noise",
        "Noise reduction",
        percent(reduction),
        f"{now.episodes:,} new alerts, {now.resources:,} resources" if now.days else "no day was rolled up yet",
        "The share of all new alerts, in storms or not, that got no resource of their own. Days that are not over "
        "are compared with whole ones.",
        (points or "unchanged") if moved else "",
        moved.verdict if moved and points else "",
    )


def _tile(
    key: str, title: str, value: str, detail: str, meaning: str, moved: Change | None, *, is_time: bool = False
) -> Tile:
    delta = delta_words(moved, is_time=is_time)
    return Tile(key, title, value, detail, meaning, delta, moved.verdict if moved else "")


def delta_words(moved: Change | None, *, is_time: bool = False) -> str:
    """`▲ 12 (+40 %)`, `unchanged`; "" for None."""
    if moved is None:
        return ""
    if not moved.by:
        return "unchanged"
    by = span(abs(moved.by)) if is_time else figure(abs(moved.by))
    share = f" ({moved.share * 100:+,.0f} %)" if moved.share is not None else ""
    return f"{arrow(moved.by)} {by}{share}"


def arrow(by: float) -> str:
    return "▲" if by > 0 else "▼"


def percent(share: float | None) -> str:
    return NOTHING if share is None else figures.percent(share)
