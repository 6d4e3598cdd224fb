"""The frame around every page in a real browser: keys, colours, times in the reader's zone."""

import re
from collections.abc import Callable
from itertools import count

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console
from tests.browser.test_now import expect_live, row

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
_namespaces = count(1)


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
