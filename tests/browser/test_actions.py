"""What an operator does in one browser is seen in another; who may only look cannot do it."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Console
from tests.browser.test_now import LOW_CONTRAST, expect_live, field, open_storm, row, storm_page

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
_namespaces = count(1)
VIEWER = "viewer"


@pytest.fixture
def namespace() -> str:
    """A group that no other test uses."""
    return f"till-{next(_namespaces)}"


def hands(page: Page) -> Locator:
    return page.locator("#hands")


def test_what_one_does_the_other_sees_without_a_reload(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    now, mine = open_page("/"), storm_page(open_page, namespace)
    theirs = storm_page(open_page, namespace, own_session=True)
    expect_live(now)
    for page in (now, theirs):
        page.evaluate("window.notReloaded = true")
    storm = row(now, namespace)
    expect(field(storm, "who")).to_have_text("nobody has it yet")

    hands(mine).get_by_role("button", name="Acknowledge").click()
    expect(mine.locator(".messages")).to_have_text("Acknowledged.")
    expect(field(storm, "who")).to_have_text("acknowledged by root")
    expect(theirs.locator("#head")).to_contain_text("by root")
    expect(hands(theirs).get_by_role("button", name="Acknowledge")).to_have_count(0)

    hands(mine).get_by_role("button", name="Assign to me").click()
    expect(field(storm, "who")).to_have_text("assigned to root")
    expect(theirs.locator("#head")).to_contain_text("to root")
    expect(hands(theirs).get_by_role("button", name="Assign to me")).to_have_count(0)

    hands(mine).locator("summary", has_text="Note").click()
    mine.locator("#note").fill("the <b>disk</b> is full")
    hands(mine).get_by_role("button", name="Add the note").click()
    expect(theirs.locator("#timeline")).to_contain_text("the <b>disk</b> is full")

    hands(mine).locator("summary", has_text="Close").click()
    mine.locator("#comment").fill("a drill")
    hands(mine).get_by_role("button", name="Close this storm").click()
    expect(theirs.locator("#head")).to_contain_text("“a drill”")
    expect(field(row(now, namespace, "settled"), "reason")).to_have_text("operator")
    expect(hands(theirs).locator("summary", has_text="Close")).to_have_count(0)
    for page in (now, theirs):
        assert page.evaluate("window.notReloaded")


def test_a_page_acts_after_it_was_given_what_all_readers_are(
    open_page: OpenPage, console: Console, namespace: str
) -> None:
    console.send(namespace, 10)
    page = storm_page(open_page, namespace)
    hands(storm_page(open_page, namespace)).get_by_role("button", name="Acknowledge").click()
    expect(page.locator("#head")).to_contain_text("by root")
    take = hands(page).get_by_role("button", name="Assign to me")
    take.click()
    expect(page.locator(".messages")).to_have_text("Assigned to root.")
    expect(take).to_be_hidden()


def test_a_reason_is_asked_for_before_anything_is_sent(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = storm_page(open_page, namespace)
    hands(page).locator("summary", has_text="Close").click()
    hands(page).get_by_role("button", name="Close this storm").click()
    assert page.locator("#comment").evaluate("e => e.validity.valueMissing")
    expect(page.locator("#head")).to_have_attribute("data-state", "open")


def test_what_is_being_typed_outlives_a_change(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = storm_page(open_page, namespace)
    hands(page).locator("summary", has_text="Note").click()
    page.locator("#note").fill("half a sen")
    console.send(namespace, 3)
    expect(page.locator('[data-number="alerts"]')).to_have_text("13")
    expect(page.locator("#note")).to_be_focused()
    page.locator("h1").click()  # the form is left, and taken from the fresh page
    page.evaluate("document.activeElement.blur()")
    console.send(namespace, 2)
    expect(page.locator('[data-number="alerts"]')).to_have_text("15")
    expect(page.locator("#note")).to_have_value("half a sen")
    expect(page.locator("#note")).to_be_visible()


def test_merge_and_split_without_javascript(open_page: OpenPage, console: Console, namespace: str) -> None:
    other = f"{namespace}-too"
    for name in (namespace, other):
        console.send(name, 10)
        console.send(name, 1)
    watching = open_page("/")
    for name in (namespace, other):
        expect(field(row(watching, name), "alerts")).to_have_text("11")

    page = open_page("/", java_script_enabled=False)
    row(page, namespace).locator("a.group").click()
    page.locator("#alerts .act summary").first.click()
    page.locator("#alerts .act").first.get_by_role("button", name="Split it out").click()
    expect(page.locator(".messages")).to_contain_text("was split out")
    expect(page.locator("#split li")).to_have_count(1)
    expect(field(row(watching, namespace), "alerts")).to_have_text("10")

    hands(page).locator("summary", has_text="Merge").click()
    option = page.locator("#into option", has_text=re.compile(rf"{other} "))
    page.locator("#into").select_option(value=option.get_attribute("value"))
    hands(page).get_by_role("button", name="Merge this storm").click()
    expect(page.locator(".messages")).to_contain_text(f"namespace={namespace} was merged into this storm.")
    expect(field(row(watching, other), "alerts")).to_have_text("21")
    expect(row(watching, namespace)).to_have_count(0)
    expect(field(row(watching, namespace, "closed"), "reason")).to_have_text("merged")


def test_who_may_only_look_has_no_buttons(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    password = console.stack.manage("create_user", VIEWER, "--role", "viewer")
    page = open_page("/", user=(VIEWER, password))
    expect_live(page)
    late = f"{namespace}-late"
    console.send(late, 10)  # a row that the script makes
    for name in (namespace, late):
        expect(row(page, name)).to_be_visible()
        expect(row(page, name).get_by_role("button")).to_have_count(0)
    open_storm(page, namespace)
    expect(page.locator("#alerts tbody tr")).to_have_count(10)
    expect(page.locator('main form[method="post"], main .menu, #hands')).to_have_count(0)


def test_the_most_trouble_rises_to_the_top(open_page: OpenPage, console: Console, namespace: str) -> None:
    names = [f"{namespace}-{name}" for name in ("warning", "small", "big")]
    console.send(names[0], 30, severity="warning")
    console.send(names[1], 11, severity="critical")
    page = open_page("/")
    expect_live(page)
    mine = page.locator("#section-open .storm", has=page.get_by_text(re.compile(f"^{namespace}-")))
    page.mouse.move(0, 0)
    console.send(names[2], 10, severity="critical")
    expect(mine.locator(".label-value")).to_have_text([names[1], names[2], names[0]])
    console.send(names[2], 3, severity="critical")
    expect(mine.locator(".label-value")).to_have_text([names[2], names[1], names[0]])
    # Under a pointer nothing moves; the rows move when it has left.
    mine.first.hover()
    console.send(names[1], 10, severity="critical")
    expect(field(row(page, names[1]), "alerts")).to_have_text("21")
    expect(mine.locator(".label-value")).to_have_text([names[2], names[1], names[0]])
    page.mouse.move(0, 0)
    expect(mine.locator(".label-value")).to_have_text([names[1], names[2], names[0]])
    page.reload()
    expect(mine.locator(".label-value")).to_have_text([names[1], names[2], names[0]])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_forms_fit_a_phone_and_read_well(
    open_page: OpenPage, console: Console, namespace: str, scheme: str
) -> None:
    console.send(namespace, 10)
    console.send(f"{namespace}-{'with-a-very-long-name-' * 4}", 10)
    page = storm_page(open_page, namespace, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    for name in ("Assign…", "Note…", "Merge…", "Close…"):
        hands(page).locator("summary", has_text=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") == 390, name
        assert page.evaluate(LOW_CONTRAST) == []
    hands(page).get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".messages")).to_be_visible()
    assert page.evaluate(LOW_CONTRAST) == []
