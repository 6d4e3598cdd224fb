"""The frame around every page in a real browser: keys, colours, times in the reader's zone."""

import re
from collections.abc import Callable
from itertools import count

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, Console
from tests.browser.test_now import expect_live, row
from tests.harness.http import resolved

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
_namespaces = count(1)
MAKE_SILENCES = f"""
from django.utils import timezone
from ingestion.models import Silence
from ingestion.silence_services import create_silence
from stormconsole.accounts.services import create_user
create_user(username="listens", role="viewer", password="{PASSWORD}")
for number in range(3):
    silence = Silence(matchers=f'pod="{{number}}"', comment="a test", starts_at=timezone.now())
    create_silence(silence=silence, author="ada")
"""


@pytest.fixture
def namespace() -> str:
    """A group that no other test uses."""
    return f"frame-{next(_namespaces)}"


def test_j_and_k_go_over_the_rows_and_enter_opens_one(open_page: OpenPage, console: Console, namespace: str) -> None:
    for name in (namespace, f"{namespace}-too"):
        console.send(name, 10)
    page = open_page("/")
    expect(row(page, f"{namespace}-too")).to_be_visible()
    expect_live(page)  # the keys' script has run
    links = page.locator("#section-open .storm a.group")
    page.keyboard.press("j")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("k")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/storms/"))
    expect_live(page)
    page.keyboard.press("g")
    page.keyboard.press("n")
    expect(page).to_have_url(re.compile(r":\d+/$"))


def test_j_and_k_go_over_rows_that_lead_nowhere_too(open_page: OpenPage, console: Console, namespace: str) -> None:
    ended = console.send(namespace, 10)
    console.deliver([resolved(item) for item in ended])
    console.send(f"{namespace}-open", 10)
    page = open_page("/")
    expect(row(page, namespace, "closed")).to_be_visible()
    expect_live(page)
    console.send(f"{namespace}-counts", 7)
    counting = page.locator("#held .counting", has=page.get_by_text(f"{namespace}-counts", exact=True))
    counting.wait_for()
    for _ in range(page.locator("#section-open .storm:visible, #held .counting:visible").count()):
        page.keyboard.press("j")
    expect(page.locator("#held .counting:focus")).to_have_count(1)
    for _ in range(page.locator("[data-row]:visible").count()):
        page.keyboard.press("j")
    expect(page.locator("#section-closed a.group").last).to_be_focused()


def test_j_and_k_go_over_silences_for_a_viewer_too(open_page: OpenPage, console: Console) -> None:
    """In the row of one that silenced something a link takes the focus, else the row itself."""
    console.stack.manage("shell", "--verbosity", "0", "-c", MAKE_SILENCES)
    page = open_page("/silences/", user=("listens", PASSWORD))
    silences = page.locator(".silence")
    for key, place in (("j", 0), ("j", 1), ("k", 0)):
        page.keyboard.press(key)
        focused = silences.nth(place).and_(page.locator(":focus, :has(:focus)"))
        expect(focused).to_have_count(1)


def test_the_slash_finds_a_search_on_every_page(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/system/dead-letters/")
    page.keyboard.press("/")
    expect(page.locator("#error")).to_be_focused()
    for path in ("/system/", "/silences/", "/system/reconcile/"):
        page.goto(path)
        page.keyboard.press("/")
        expect(page).to_have_url(re.compile("/alerts/#q$"))
        expect(page.locator("#q")).to_be_focused()
        expect(page.locator("#q")).to_have_value("")


def test_a_key_that_does_nothing_is_left_to_the_browser(open_page: OpenPage) -> None:
    page = open_page("/login/", log_in=False)
    page.evaluate("addEventListener('keydown', (event) => (window.swallowed = event.defaultPrevented))")
    page.evaluate("document.activeElement.blur()")
    for key in ("/", "j", "?"):
        page.keyboard.press(key)
        assert page.evaluate("window.swallowed") is False, key


def test_a_checkbox_takes_no_letters(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = open_page("/")
    row(page, namespace).wait_for()
    page.get_by_label("critical").focus()
    page.keyboard.press("j")
    expect(page.locator("#section-open a.group").first).to_be_focused()
    page.get_by_label("critical").focus()
    page.keyboard.press("/")
    expect(page.locator("#sieve-text")).to_be_focused()


def test_letters_typed_into_a_field_are_letters(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = open_page("/")
    row(page, namespace).locator("a.group").click()
    page.locator("#hands summary", has_text="Note").click()
    page.locator("#note").focus()
    page.keyboard.type("gnj?/k")
    expect(page.locator("#note")).to_have_value("gnj?/k")
    expect(page.locator("#keys")).not_to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#note")).not_to_be_visible()
    expect(page.locator("#hands summary", has_text="Note")).to_be_focused()


def test_the_question_mark_opens_the_help_and_escape_closes_it(open_page: OpenPage) -> None:
    page = open_page("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).not_to_be_visible()
    page.locator(".account summary").click()
    page.get_by_role("button", name="Keyboard").click()
    expect(page.locator("#keys")).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("#keys")).not_to_be_visible()


BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_the_colours_change_at_once_and_stay(open_page: OpenPage) -> None:
    page = open_page("/", color_scheme="light")
    page.evaluate("window.notReloaded = true")
    light = page.evaluate(BACKGROUND)
    page.locator(".account summary").click()
    with page.expect_response("**/theme/"):
        page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(BACKGROUND)
    assert dark != light
    assert page.evaluate("window.notReloaded")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.mouse.click(5, 400)
    expect(page.get_by_role("button", name="Dark")).not_to_be_visible()
    page.reload()
    assert page.evaluate(BACKGROUND) == dark
    page.emulate_media(media="print")
    assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"


def test_the_colours_follow_the_system(open_page: OpenPage) -> None:
    page = open_page("/", color_scheme="light")
    light = page.evaluate(BACKGROUND)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(BACKGROUND) != light


def test_a_time_tells_the_moment_in_the_reader_s_zone(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = open_page("/", timezone_id="Asia/Tokyo", locale="en-US")
    row(page, namespace).locator("a.group").click()
    moment = page.locator("#timeline time").first
    expect(moment).to_have_attribute("title", re.compile(r"UTC$"))
    moment.hover()
    expect(moment).to_have_attribute("title", re.compile(r"GMT\+9$"))


def test_colours_are_chosen_without_javascript_too(open_page: OpenPage) -> None:
    page = open_page("/", java_script_enabled=False, color_scheme="light")
    light = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    page.locator(".account summary").click()
    page.get_by_role("button", name="Dark").click()
    expect(page).to_have_url(re.compile(r":\d+/$"))
    assert page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor") != light
