"""The live page, as an operator sees it: real processes, a real browser."""

import re
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Console
from tests.harness.http import resolved

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
_namespaces = count(1)


@pytest.fixture
def namespace() -> str:
    """A group that no other test uses."""
    return f"shop-{next(_namespaces)}"


def row(page: Page, namespace: str, section: str = "open") -> Locator:
    return page.locator(f"#section-{section} .storm", has=page.get_by_text(namespace, exact=True))


def field(storm: Locator, name: str) -> Locator:
    return storm.locator(f'[data-field="{name}"]')


def expect_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=30_000)


def test_a_login_leads_to_the_page(open_page: OpenPage) -> None:
    page = open_page("/", log_in=False)
    expect(page).to_have_url(re.compile(r"/login/\?next=/$"))
    page = open_page("/")
    expect(page).to_have_title(re.compile("Now · stormconsole$"))
    expect(page.locator(".banner")).to_contain_text("No Kubernetes cluster is configured.")
    expect_live(page)


def test_a_storm_appears_grows_and_ends_without_a_reload(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/")
    expect_live(page)
    page.evaluate("window.notReloaded = true")

    alerts = console.send(namespace, 12)
    storm = row(page, namespace)
    expect(field(storm, "alerts")).to_have_text("12")
    expect(field(storm, "sync")).to_have_text("applied")
    expect(storm).to_have_attribute("data-severity", "critical")
    expect(page).to_have_title(re.compile(r"^\(\d+\) Now"))

    alerts += console.send(namespace, 5)
    expect(field(storm, "alerts")).to_have_text("17")
    expect(field(storm, "firing")).to_have_text("17")
    assert "bump" in (field(storm, "alerts").get_attribute("class") or "")

    console.deliver([resolved(item) for item in alerts])
    ended = row(page, namespace, "closed")
    expect(field(ended, "firing")).to_have_text("0")
    expect(field(ended, "reason")).to_have_text("resolved")
    expect(storm).to_have_count(0)
    assert page.evaluate("window.notReloaded")


def test_it_reconnects_and_shows_what_it_missed(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/")
    expect_live(page)
    console.send(namespace, 10, web=1)
    expect(field(row(page, namespace), "alerts")).to_have_text("10")
    page.evaluate("window.notReloaded = true")

    console.stack.kill("web-0")
    expect(page.locator("#connection")).to_have_attribute("data-state", re.compile("reconnecting|connecting"))
    console.send(namespace, 7, web=1)
    missed = f"{namespace}-too"
    console.send(missed, 10, web=1)
    console.stack.restart("web-0")

    expect_live(page)
    expect(field(row(page, namespace), "alerts")).to_have_text("17")
    expect(field(row(page, missed), "alerts")).to_have_text("10")
    assert page.evaluate("window.notReloaded")


def test_it_hears_again_after_valkey_lost_all_its_data(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/")
    expect_live(page)
    console.stack.valkey.kill()
    expect(page.locator("#connection")).not_to_have_attribute("data-state", "live")
    console.stack.valkey.start(empty=True)
    console.stack.wait_ready()
    expect_live(page)
    console.send(namespace, 10)
    expect(field(row(page, namespace), "alerts")).to_have_text("10")


def test_hostile_labels_are_text_in_the_page_that_the_script_builds(open_page: OpenPage, console: Console) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    page = open_page("/")
    expect_live(page)
    console.send(evil, 10, name=evil)  # `open_page` fails the test if a dialog opens
    storm = page.locator("#section-open .storm", has_text=evil)
    expect(storm.locator(".label-value")).to_have_text(evil)
    expect(field(storm, "names")).to_contain_text(evil)
    expect(field(storm, "sync")).to_have_text("applied")
    assert page.locator(".storm script, .storm img").count() == 0
    page.reload()
    expect(storm.locator(".label-value")).to_have_text(evil)
    assert page.locator(".storm script, .storm img").count() == 0


def test_who_logs_out_elsewhere_is_told(open_page: OpenPage) -> None:
    page = open_page("/")
    expect_live(page)
    page.context.clear_cookies()
    page.evaluate("dispatchEvent(new Event('offline'))")
    expect(page.locator("#connection")).to_have_text("Logged out")


def test_a_storm_s_page_follows_it(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = open_page("/")
    row(page, namespace).locator("a.group").click()
    expect_live(page)
    alerts = page.locator('[data-number="alerts"]')
    expect(alerts).to_have_text("10")
    page.locator("#resource summary").click()
    expect(page.locator("#resource pre")).to_contain_text("kind: RemediationRequest")

    console.send(namespace, 4)
    expect(alerts).to_have_text("14")
    expect(page.locator("#alerts tbody tr")).to_have_count(14)
    # The part that the reader opened stays open while it changes around it.
    page.locator("h1").click()
    expect(page.locator("#resource pre")).to_contain_text("alertCount: 14")

    page.locator("#alerts tbody a").first.click()
    expect(page.locator("#title-trace")).to_be_visible()
    expect(page.locator(".timeline")).to_contain_text(f"namespace={namespace}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_reads_well(open_page: OpenPage, console: Console, namespace: str, scheme: Any) -> None:
    console.send(f"{namespace}-{'with-a-very-long-name-' * 4}", 10)
    page = open_page("/", viewport={"width": 390, "height": 844}, color_scheme=scheme)
    expect_live(page)
    page.locator("#section-open .storm").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(LOW_CONTRAST) == []
    page.locator("#section-open a.group").first.click()
    expect_live(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(LOW_CONTRAST) == []


def test_it_works_with_the_keyboard(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = open_page("/")
    row(page, namespace).wait_for()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#section-open a.group").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/storms/"))


# Texts whose contrast to what is behind them is below WCAG AA (4.5, large text 3).
LOW_CONTRAST = r"""() => {
  const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const over = ([r, g, b, a = 1], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const channel = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    if (!hasText || !element.checkVisibility() || element.closest(".visually-hidden, .skip, svg")) continue;
    const background = behind(element);
    const [a, b] = [light(over(parse(style.color), background)), light(background)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (large ? 3 : 4.5)) found.push(`${element.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""
