"""Nothing jumps while a page loads and lives; and on paper stands what happened, without the controls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console
from tests.browser.test_now import LOW_CONTRAST, expect_live, field, row

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
_namespaces = count(1)
widths = pytest.mark.parametrize("width", [1280, 390])
MOST_SHIFT = 0.1
"""What web.dev calls good, of all shifts together and not only of the worst five seconds."""
SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, hadRecentInput, sources } of list.getEntries()) {
    const moved = sources.map(({ node, previousRect, currentRect }) =>
      `${node?.outerHTML?.slice(0, 80) ?? node?.textContent} ${previousRect.y} > ${currentRect.y}`);
    if (!hadRecentInput) window.shifts.push({ value, moved });
  }
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture
def namespace() -> str:
    """A group that no other test uses."""
    return f"still-{next(_namespaces)}"


def steady(open_page: OpenPage, path: str, width: int) -> Page:
    """The page, freshly loaded, with its shifts counted from the first paint on."""
    page = open_page("/system/", viewport={"width": width, "height": 800})
    page.add_init_script(SHIFTS)
    page.goto(path, wait_until="load")
    expect(page.locator(".htmx-request")).to_have_count(0)
    return page


def assert_steady(page: Page) -> None:
    # A shift is told after the frame in which it happened.
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    shifts: list[dict[str, Any]] = page.evaluate("window.shifts")
    told = "\n".join(f"{shift['value']:.3f} {shift['moved']}" for shift in shifts)
    assert sum(shift["value"] for shift in shifts) < MOST_SHIFT, told


def test_now_does_not_jump(open_page: OpenPage, console: Console, namespace: str) -> None:
    for name in (namespace, f"{namespace}-too"):
        console.send(name, 12)
    page = steady(open_page, "/", 1280)
    expect_live(page)
    for number in range(13, 16):
        console.send(namespace, 1)
        expect(field(row(page, namespace), "alerts")).to_have_text(str(number))
    expect(field(row(page, namespace), "sync")).to_have_text("applied")
    assert_steady(page)


@widths
def test_a_storm_s_page_does_not_jump(open_page: OpenPage, console: Console, namespace: str, width: int) -> None:
    console.send(namespace, 40)
    storm = row(open_page("/"), namespace).locator("a.group").get_attribute("href")
    page = steady(open_page, storm or "", width)
    expect_live(page)
    expect(page.locator("#resources-found tbody tr").first).to_be_attached()
    expect(page.locator("#compared")).to_be_attached()
    expect(page.locator("#moment")).to_be_visible()
    for number in range(41, 44):
        console.send(namespace, 1)
        expect(page.locator("#alerts-number")).to_contain_text(str(number), timeout=10_000)
    assert_steady(page)


@widths
def test_the_alert_explorer_does_not_jump(open_page: OpenPage, console: Console, namespace: str, width: int) -> None:
    console.send(namespace, 20)
    page = steady(open_page, "/alerts/", width)
    expect(page.locator("#histogram .sum")).to_contain_text("match", timeout=15_000)
    assert_steady(page)


@widths
def test_history_does_not_jump(open_page: OpenPage, console: Console, namespace: str, width: int) -> None:
    console.send(namespace, 10)
    page = steady(open_page, "/history/", width)
    expect(page.locator("[data-calendar]")).to_be_visible()
    assert_steady(page)


CONTROLS = "header, nav, footer, button, .button, input, select, textarea, .skip, .banner, .messages"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_post_mortem_is_printed_dark_on_white_without_controls(
    open_page: OpenPage, console: Console, namespace: str, scheme: str
) -> None:
    console.send(namespace, 12)
    page = open_page("/", color_scheme=scheme)
    row(page, namespace).locator("a.group").click()
    page.get_by_role("link", name="Post-mortem").click()
    expect(page.locator(".report")).to_be_visible()
    page.emulate_media(media="print", color_scheme=scheme)
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator(CONTROLS).filter(visible=True)).to_have_count(0)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(LOW_CONTRAST) == []
    assert page.evaluate(LIGHT_TEXTS) == []
    assert page.pdf(format="A4").startswith(b"%PDF")


# Texts on paper whose colour is not dark: the mean of its channels above half.
LIGHT_TEXTS = """() => [...document.querySelectorAll("main *")].filter((element) => {
  const hasText = [...element.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
  const [r, g, b] = getComputedStyle(element).color.match(/[\\d.]+/g).map(Number);
  return hasText && element.checkVisibility() && (r + g + b) / 3 > 127;
}).map((element) => element.outerHTML.slice(0, 120))"""
