"""The alert explorer in a real browser: filters, completion, saved filters, keys, a phone; nothing reloads the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PASSWORD, USER, Console, log_in_as
from tests.browser.test_now import LOW_CONTRAST, failing, look_away, look_back
from tests.harness.wait import wait_until

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
_namespaces = count(1)


@pytest.fixture
def namespace(console: Console) -> str:
    """A namespace with three alerts that no other test uses."""
    name = f"explored-{next(_namespaces)}"
    console.send(name, 2)
    console.send(name, 1, severity="info")
    return name


def open_explorer(open_page: OpenPage, query: str = "", **options: object) -> Page:
    page = open_page(f"/alerts/{query}", **options)
    expect(page.locator("#histogram .sum")).to_contain_text("match", timeout=15_000)
    page.evaluate("window.notReloaded = true")
    return page


def rows(page: Page) -> Locator:
    return page.locator("#rows tr[data-row]")


def search(page: Page, text: str) -> None:
    page.fill("#q", text)
    page.keyboard.press("Enter")


def expect_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.notReloaded") is True


def test_a_filter_narrows_without_a_reload_and_stands_in_the_address(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page)

    search(page, f'{{namespace="{namespace}"}}')
    expect(rows(page)).to_have_count(3)
    expect(page.locator("#histogram .sum")).to_contain_text("3 alerts match")
    page.locator("#more summary").click()
    page.get_by_label("Info", exact=True).check()
    expect(rows(page)).to_have_count(1)

    expect_not_reloaded(page)
    expect(page).to_have_url(re.compile(rf"q=.*{namespace}.*severity=info"))
    assert "receiver=" not in page.url
    page.reload()
    expect(rows(page)).to_have_count(1)
    page.locator(".chip.on", has_text="severity: info").click()
    expect(rows(page)).to_have_count(3)
    page.go_back()
    expect(rows(page)).to_have_count(1)


def test_a_mistake_is_marked_and_mended_in_place(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page)

    search(page, f'{{namespace="{namespace}" pod="x"}}')
    expect(page.locator("#q-error mark")).to_have_text('pod="x"}')
    expect(page.locator("#q")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#q")).to_have_value(f'{{namespace="{namespace}" pod="x"}}')
    search(page, f'{{namespace="{namespace}"}}')
    expect(rows(page)).to_have_count(3)
    expect(page.locator("#q-error")).to_have_count(0)
    expect_not_reloaded(page)


def test_names_and_values_are_completed_by_the_keyboard(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page)
    # What the server knows of the latest alerts is some seconds old.
    known = "/alerts/complete.json?q=" + quote(f'{{namespace="{namespace}')
    wait_until(lambda: page.request.get(known).json()["items"], 20, "the namespace to be known", interval=0.5)
    field, options = page.locator("#q"), page.locator("#q-list [role=option]")

    page.keyboard.press("/")
    expect(field).to_be_focused()
    page.keyboard.type("{names")
    expect(options.first).to_have_text("namespace")
    expect(field).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    expect(field).to_have_attribute("aria-activedescendant", "q-list-0")
    page.keyboard.press("Tab")
    expect(field).to_have_value('{namespace="')
    page.keyboard.type(namespace)
    expect(options).to_have_text([namespace])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(field).to_have_value(f'{{namespace="{namespace}"')
    page.keyboard.type("}")
    page.keyboard.press("Escape")
    page.locator("#q").focus()
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(3)
    expect(field).to_have_attribute("aria-expanded", "false")
    expect_not_reloaded(page)


def test_rows_are_gone_over_by_keys_and_one_click_leads_to_the_trace(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page, f'?q={{namespace="{namespace}"}}')

    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(rows(page).nth(1).locator("a").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Why it is where it is")).to_be_visible()
    page.locator("dd a.like", has_text=namespace).click()
    expect(rows(page)).to_have_count(3)


def test_a_filter_is_saved_under_a_name_and_deleted(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page, f'?q={{namespace="{namespace}"}}')
    name = f"mine {namespace}"

    page.get_by_text("Save…").click()
    page.get_by_label("Save this filter as").fill(name)
    page.get_by_label("for everybody").first.check()
    page.get_by_role("button", name="Save", exact=True).click()
    chip = page.locator("a.chip", has_text=name)
    expect(chip).to_have_attribute("aria-current", "true")
    page.goto("/alerts/")
    chip.click()
    expect(rows(page)).to_have_count(3)
    page.get_by_text("Save…").click()
    page.get_by_role("button", name=f"Delete {name}").click()
    expect(page.locator(".messages")).to_contain_text("was deleted")
    expect(chip).to_have_count(0)


def test_columns_are_chosen_and_kept(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page, f'?q={{namespace="{namespace}"}}')

    page.get_by_text("Columns…").click()
    page.get_by_label("Another label").fill("severity")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("thead th", has_text="severity")).to_be_visible()
    expect(rows(page)).to_have_count(3)
    page.get_by_text("Columns…").click()
    page.get_by_role("button", name="Make the columns shown my default").click()
    page.goto("/alerts/")
    expect(page.locator("thead th", has_text="severity")).to_be_visible()


def test_dragging_over_the_histogram_looks_at_that_part(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page, f'?q={{namespace="{namespace}"}}&range=1h', timezone_id="Europe/Berlin")
    box = page.locator("#histogram .u-over").bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + 10, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30, steps=5)
    page.mouse.up()

    expect(page).to_have_url(re.compile("range=between.*tz=Europe%2FBerlin"))
    expect(page.locator("#range")).to_have_value("between")
    expect(page.locator("#from")).to_be_visible()
    # What came in just now is not in the first half of the hour.
    expect(page.locator(".empty")).to_contain_text("No alert matches")
    expect_not_reloaded(page)


def test_a_phone_shows_it_without_sideways_scrolling(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page, f'?q={{namespace="{namespace}"}}', viewport={"width": 390, "height": 844})

    expect(rows(page)).to_have_count(3)
    page.get_by_text("Columns…").click()
    page.get_by_text("Save…").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.expects_problem("status of (403|500) .*/alerts/", "ERR_FAILED", "vendor/htmx")
def test_a_search_that_fails_says_so_and_what_to_do(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page)
    told = page.locator("#results > [data-failed]")
    parts = re.compile(r"/alerts/\?q=")

    for status, words in (
        (500, "failed with error 500"),
        (403, "You may not see this any more"),
        (0, "did not answer"),
    ):
        page.route(parts, failing(status))
        search(page, f'{{namespace="{namespace}"}}')
        expect(told).to_contain_text(words)
        assert page.evaluate(LOW_CONTRAST) == []
        page.unroute(parts)
    search(page, f'{{namespace="{namespace}"}}')
    expect(rows(page)).to_have_count(3)
    expect(told).to_have_count(0)
    expect_not_reloaded(page)


@pytest.mark.expects_problem("status of 401 .*/alerts/")
def test_who_searches_logged_out_comes_back_after_the_login(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page, f'?q={{namespace="{namespace}"}}&range=7d')
    page.context.clear_cookies()
    page.select_option("#status", "firing")
    expect(page).to_have_url(re.compile("/login/"))
    log_in_as(page, USER, PASSWORD)
    expect(page).to_have_url(re.compile(rf"/alerts/\?q=.*{namespace}.*range=7d$"))
    expect(rows(page)).to_have_count(3)


GO_ON = """() => {
  const row = document.createElement("tr");
  row.className = "going-on";
  const ask = { get: "/alerts/?part=rows", trigger: "load delay:10ms", swap: "outerHTML", target: "this" };
  for (const [name, value] of Object.entries(ask)) row.setAttribute(`hx-${name}`, value);
  row.append(document.createElement("td"));
  document.getElementById("rows").append(row);
  htmx.process(row);
}"""


def test_a_bounded_search_goes_on_when_the_tab_is_looked_at(open_page: OpenPage, namespace: str) -> None:
    page = open_explorer(open_page, f'?q={{namespace="{namespace}"}}')
    page.clock.install()
    look_away(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(GO_ON)  # as with more alerts than one page looks through
    page.clock.fast_forward(1_000)
    expect(page.locator(".going-on")).to_have_count(1)
    assert asked == []
    look_back(page)
    expect(page.locator(".going-on")).to_have_count(0)
    assert len(asked) == 1


def test_it_works_without_javascript(open_page: OpenPage, namespace: str) -> None:
    page = open_page("/alerts/", java_script_enabled=False)

    page.fill("#q", f'namespace="{namespace}"')
    page.get_by_role("button", name="Search").click()
    expect(rows(page)).to_have_count(3)
    expect(page.locator("#q")).to_have_value(f'namespace="{namespace}"')
