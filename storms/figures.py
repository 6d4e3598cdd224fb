"""Shares and ratios as people read them (pure). static/console/totals.js writes the same words."""

import math


def rounded(number: float, digits: int = 0) -> float:
    """Halves go up, as in the page's scripts: a number must not change when they write it anew."""
    scale: int = 10**digits
    return math.floor(number * scale + 0.5) / scale


def percent(part: float) -> str:
    """0 to 1 as `42 %`, near the ends as `0.4 %` and `99.6 %`; but for 0 and 1 at least `<0.1 %`, at most `>99.9 %`."""
    of_hundred = 100 * part
    if part in {0, 1} or 9.95 <= of_hundred < 98.95:
        return f"{rounded(of_hundred):.0f} %"
    if of_hundred < 0.05:
        return "<0.1 %"
    return f"{rounded(of_hundred, 1):.1f} %" if of_hundred < 99.95 else ">99.9 %"


def reduction(resources: int, alerts: int) -> str:
    """By how much fewer resources than alerts there are, as `percent` writes it; a dash where none came."""
    return percent(max(1 - resources / alerts, 0)) if alerts else "\u2014"


def each(alerts: int, resources: int) -> str:
    """Alerts for each resource: `34.2 to 1`, `1,008 to 1`; nothing where there is none."""
    if not resources:
        return ""
    number = alerts / resources
    return f"{rounded(number, 1):.1f} to 1" if number < 99.95 else f"{rounded(number):,.0f} to 1"
