"""History and System in a real browser: the calendar by mouse and by keyboard, what updates by itself, who may act."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, USER, Console, log_in_as

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
@pytest.mark.parametrize("path", ["/history/?days=90", "/system/"])
def test_it_fits_a_phone(open_page: OpenPage, path: str) -> None:
    page = open_page(path, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


# --- System


VIEWER = ("viewer", PASSWORD)
MAKE_VIEWER = f"""
from django.contrib.auth.models import Group, User
user, _ = User.objects.get_or_create(username="{VIEWER[0]}")
user.set_password("{PASSWORD}")
user.save()
user.groups.set(Group.objects.filter(name="viewer"))
"""


def fail_a_sync(console: Console) -> str:
    """The id of a storm's request that failed, and rests for a day."""
    [(request_id,)] = console.stack.query(
        "update storms_remediationrequest set sync_state = 'failed', last_error = '503 the API server is on fire',"
        " attempts = 8, last_attempt_at = now(), next_attempt_at = now() + interval '1 day', enqueued_at = null"
        " where id = (select id from storms_remediationrequest where kind = 'storm' limit 1) returning id::text"
    )
    return str(request_id)


def test_system_follows_by_itself(open_page: OpenPage, console: Console) -> None:
    page = open_page("/system/")
    expect(page.locator("#connection")).to_have_text("Live")
    page.evaluate("window.notReloaded = true")
    page.locator("summary", has_text="Versions").click()
    before = int(page.locator('[data-total="received"]').inner_text().replace(",", ""))
    console.send("by-itself", 3)
    expect(page.locator('[data-total="received"]')).to_have_text(f"{before + 3:,}", timeout=15_000)
    expect(page.locator("#deliveries tbody tr").first).to_contain_text("held")
    expect(page.locator('[data-total="unaccounted"]')).to_have_text("0")
    expect(page.locator("details[data-keep=versions]")).to_have_attribute("open", "")
    assert page.evaluate("window.notReloaded")
    for component in ("worker", "sweep"):
        expect(page.locator("li", has_text=component).locator('[data-tone="component-ok"]')).to_be_visible()


def test_system_follows_where_the_keyboard_stands_in_it(open_page: OpenPage, console: Console) -> None:
    console.send("under-the-keyboard", 1)
    page = open_page("/system/")
    deliveries = page.locator("#deliveries tbody tr")
    before = deliveries.count()
    page.keyboard.press("j")
    focused = page.locator("#system a:focus-visible")
    address = focused.get_attribute("href")
    console.send("under-the-keyboard", 2)
    expect(deliveries).to_have_count(before + 1, timeout=15_000)
    expect(focused).to_have_attribute("href", address or "")
    page.locator("#answer").focus()
    expect(page.locator("#connection")).to_have_text("Waits while you choose", timeout=15_000)
    page.locator("h1").evaluate("() => document.activeElement.blur()")
    expect(page.locator("#connection")).to_have_text("Live", timeout=15_000)


@pytest.mark.expects_problem("status of 401 .*/system/")
def test_who_looks_at_system_logged_out_is_led_to_the_login(open_page: OpenPage) -> None:
    page = open_page("/system/?answer=accepted")
    expect(page.locator("#connection")).to_have_text("Live")
    page.context.clear_cookies()
    expect(page).to_have_url(re.compile("/login/"), timeout=15_000)
    log_in_as(page, USER, PASSWORD)
    expect(page).to_have_url(re.compile(r"/system/\?answer=accepted$"))


def test_an_operator_retries_a_failed_sync_and_counts_the_ledger(open_page: OpenPage, console: Console) -> None:
    console.send("to-retry", 10)
    page = open_page("/")
    expect(page.locator(".storm", has_text="to-retry").locator('[data-field="sync"]')).to_have_text("applied")
    request_id = fail_a_sync(console)
    page.goto("/system/")
    row = page.locator(f'[data-request="{request_id}"]')
    expect(row).to_contain_text("503 the API server is on fire")
    row.get_by_role("button", name="Retry").click()
    expect(page.locator(".messages")).to_contain_text("is tried again now.")
    expect(row).to_have_count(0)
    page.get_by_role("button", name="Count now").click()
    expect(page.locator(".messages")).to_contain_text("everything is accounted for.")


@pytest.mark.expects_problem("status of 403 .*/system/count/")
def test_a_viewer_looks_and_cannot_act(open_page: OpenPage, console: Console) -> None:
    console.stack.manage("shell", "-c", MAKE_VIEWER)
    console.send("to-look-at", 10)
    page = open_page("/system/", user=VIEWER)
    expect(page.locator('[data-total="received"]')).to_be_visible()
    expect(page.get_by_role("button", name="Count now")).to_have_count(0)
    page.wait_for_function("window.htmx !== undefined")
    refused = page.evaluate(
        "fetch('/system/count/', {method: 'POST', headers: JSON.parse(document.body.getAttribute('hx-headers'))})"
        ".then((answer) => answer.status)"
    )
    assert refused == 403


def test_without_the_store_system_says_so_and_recovers(open_page: OpenPage, console: Console) -> None:
    page = open_page("/system/")
    expect(page.locator('[data-tone="component-ok"]').first).to_be_visible()
    console.stack.valkey.stop()
    try:
        expect(page.locator("#system")).to_contain_text("The store does not answer", timeout=20_000)
        page.reload()
        expect(page.locator("#system")).to_contain_text("The store does not answer")
    finally:
        console.stack.valkey.start()
    expect(page.locator("#system")).not_to_contain_text("The store does not answer", timeout=30_000)
