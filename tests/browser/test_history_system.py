"""History and System in a real browser: the calendar by mouse and by keyboard, periods, filters, phone width."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]

# Made in the database: nobody can send a storm of last week.
MAKE_STORMS = """
import json
from datetime import datetime
from tests.factories import make_closed_storm
for days, storms in json.loads('''{storms}''').items():
    for name, alerts in storms:
        at = datetime.fromisoformat(days)
        make_closed_storm(opened_at=at, alert_count=alerts, group_labels={{"namespace": name}}, policy_name="default")
"""


def noon(days_ago: int) -> datetime:
    """Noon of that day; today, an hour ago."""
    now = datetime.now(UTC)
    return now - timedelta(hours=1) if not days_ago else now.replace(hour=12) - timedelta(days=days_ago)


@pytest.fixture(scope="module")
def past(console: Console) -> None:
    """Storms of three days and of long ago."""
    storms = {
        noon(2): [("two-days-ago", 30), ("two-days-ago-too", 11)],
        noon(3): [("three-days-ago", 500)],
        noon(20): [("weeks-ago", 12)],
    }
    console.stack.manage(
        "shell", "-c", MAKE_STORMS.format(storms=json.dumps({at.isoformat(): rows for at, rows in storms.items()}))
    )


def day(page: Page, days_ago: int) -> str:
    return f'[data-calendar] a[data-day="{noon(days_ago):%Y-%m-%d}"]'


@pytest.mark.usefixtures("past")
def test_a_day_of_the_calendar_leads_to_its_storms(open_page: OpenPage) -> None:
    page = open_page("/history/?days=7")
    expect(page.locator('[data-figure="storms"] .figure')).to_have_text("3")
    page.locator(day(page, 2)).click()
    expect(page.locator("#title-storms")).to_contain_text(f"{noon(2):%A}")
    expect(page.locator(".history-storms li")).to_have_count(2)
    expect(page.locator(day(page, 2))).to_have_attribute("aria-current", "true")
    page.locator(".history-storms a.group", has_text="two-days-ago-too").click()
    expect(page).to_have_url(re.compile("/storms/"))


@pytest.mark.usefixtures("past")
def test_the_calendar_is_one_tab_stop_and_arrow_keys_go_from_day_to_day(open_page: OpenPage) -> None:
    page = open_page("/history/?days=7")
    page.get_by_role("link", name="Alerts", exact=True).last.focus()
    page.keyboard.press("Tab")
    expect(page.locator(day(page, 2))).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator(day(page, 3))).to_be_focused()
    page.keyboard.press("Home")
    expect(page.locator(day(page, 20))).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-calendar] a:focus")).to_have_count(1)
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page.locator("#title-storms")).to_contain_text(f"{noon(2):%A}")


@pytest.mark.usefixtures("past")
def test_the_period_is_switched_and_the_calendar_coloured_by_alerts(open_page: OpenPage) -> None:
    page = open_page("/history/?days=7")
    page.get_by_role("link", name="Alerts", exact=True).last.click()
    expect(page.locator(f'{day(page, 3)} [data-level="4"]')).to_have_count(1)
    expect(page.locator(f'{day(page, 2)} [data-level="1"]')).to_have_count(1)
    page.get_by_role("link", name="30 days").click()
    expect(page.locator('[data-figure="storms"] .figure')).to_have_text("4")
    expect(page).to_have_url(re.compile("by=alerts"))
    page.fill("#from", f"{noon(20):%Y-%m-%d}")
    page.fill("#to", f"{noon(20):%Y-%m-%d}")
    page.get_by_role("button", name="Show").click()
    expect(page.locator('[data-figure="alerts"] .figure')).to_have_text("12")


@pytest.mark.usefixtures("past")
def test_the_storms_are_filtered_without_a_reload_and_the_address_follows(open_page: OpenPage) -> None:
    page = open_page("/history/?days=30")
    page.evaluate("window.notReloaded = true")
    page.keyboard.press("/")
    page.keyboard.type("three-days")
    page.keyboard.press("Enter")
    expect(page.locator(".history-storms li")).to_have_count(1)
    expect(page).to_have_url(re.compile("q=three-days"))
    page.select_option("#severity", "info")
    expect(page.locator("#storms")).to_contain_text("No storm matches.")
    assert page.evaluate("window.notReloaded")
    page.reload()
    expect(page.locator("#q")).to_have_value("three-days")


@pytest.mark.usefixtures("past")
def test_the_statistics_are_downloaded(open_page: OpenPage) -> None:
    page = open_page("/history/?days=7")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.startswith("storms-")
    assert "storms,,alerts,541," in download.value.path().read_text()


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize("path", ["/history/?days=90"])
def test_it_fits_a_phone(open_page: OpenPage, path: str) -> None:
    page = open_page(path, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
