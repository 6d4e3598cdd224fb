"""The live page, as an operator sees it: real processes, a real browser."""

import json
import random
import re
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, WebSocket, WebSocketRoute, expect

from storms.figures import each, reduction
from storms.rate import BUCKET_SECONDS, rate_of, recent_counts
from tests.browser.conftest import PASSWORD, USER, Console, log_in_as
from tests.harness.http import resolved
from tests.harness.wait import wait_until

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


def open_storm(page: Page, namespace: str) -> None:
    """Follow a row's link. Now may be live too: it is waited for the storm's own page."""
    row(page, namespace).locator("a.group").click()
    page.wait_for_url("**/storms/**")
    expect_live(page)


def storm_page(open_page: OpenPage, namespace: str, **options: object) -> Page:
    page = open_page("/", **options)
    open_storm(page, namespace)
    return page


def wait_in(page: Page, condition: Callable[[], object], what: str) -> None:
    """Until it holds; what a page brings by itself is told only while something is awaited of it."""
    wait_until(lambda: page.wait_for_timeout(50) or condition(), 15, what)


def failing(status: int) -> Callable[[Route], None]:
    """For `Page.route`: an answer with this status, or none at all with 0."""
    return lambda route: route.fulfill(status=status, body="<h1>no</h1>") if status else route.abort()


def test_a_fresh_console_leads_to_the_first_storm(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/")
    expect_live(page)
    page.evaluate("window.notReloaded = true")
    welcome, quiet = page.locator('[data-empty="fresh"]'), page.locator('[data-empty="quiet"]')
    expect(welcome).to_contain_text("No alert has come yet")
    expect(welcome.locator("pre")).to_contain_text(f"{console.stack.url}/api/v1/webhooks/alertmanager")
    alerts = console.send(namespace, 10)
    expect(row(page, namespace)).to_be_visible()
    expect(welcome).to_be_hidden()
    console.deliver([resolved(item) for item in alerts])
    expect(row(page, namespace, "closed")).to_be_visible()
    expect(quiet).to_contain_text("All quiet")
    expect(quiet.locator("#last-alert")).to_have_text(re.compile("s ago"))
    expect(welcome).to_be_hidden()
    assert page.evaluate("window.notReloaded")


HEARD_LONG_AGO = "update ingestion_delivery set received_at = received_at - interval '3 hours' returning id"


def test_when_receivers_were_heard_follows_while_all_is_quiet(
    open_page: OpenPage, console: Console, namespace: str
) -> None:
    console.send(namespace, 1)
    console.stack.query(HEARD_LONG_AGO)
    page = open_page("/")
    page.clock.install()
    page.reload()
    expect_live(page)
    page.evaluate("window.notReloaded = true")
    heard = page.locator("#heard tbody tr").first
    expect(heard).to_contain_text("3 h ago")
    look_away(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    console.send(namespace, 1)
    page.clock.fast_forward(100_000)
    assert asked == []
    look_back(page)
    expect(heard).to_contain_text(re.compile(r"\d+ s ago"))
    assert sum(address.endswith("/receivers/heard/") for address in asked) == 1
    console.stack.query(HEARD_LONG_AGO)
    page.clock.fast_forward(31_000)
    expect(heard).to_contain_text("3 h ago")
    assert page.evaluate("window.notReloaded")


def test_more_storms_than_a_snapshot_holds_are_counted(open_page: OpenPage, console: Console, namespace: str) -> None:
    """As if a page held one storm, and the totals told of many."""
    console.send(namespace, 10)
    page = open_page("/")

    def hold_one(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('data-most="500"', 'data-most="1"'))

    def tell_of_many(socket: WebSocketRoute) -> None:
        many = {"open_storms": 1700, "settled_storms": 12, "firing_in_storms": 90_000}
        socket.send(json.dumps({"type": "ping", "totals": many}))

    page.route(re.compile(r":\d+/$"), hold_one)
    page.route_web_socket(re.compile("/ws/storms/$"), tell_of_many)
    page.reload()
    expect_live(page)
    expect(page.locator('[data-total="open"]')).to_have_text("1,700")
    expect(page.locator('[data-total="firing"]')).to_have_text("90,000")
    shown = page.locator("#section-open .storm").count()
    more = page.locator("#section-open [data-more]")
    expect(more).to_have_text(f"and {1700 - shown:,} more in History")
    expect(page.locator("#section-settled [data-more]")).to_have_text(re.compile(r"and 1\d more in History"))
    more.get_by_role("link").click()
    expect(page.locator("#state")).to_have_value("open")


def test_a_click_is_not_lost_to_the_first_message(open_page: OpenPage, console: Console, namespace: str) -> None:
    """What is under the pointer stays the same element, if it says the same."""
    console.send(namespace, 10)
    page = open_page("/")
    messages: list[tuple[WebSocketRoute, str | bytes]] = []

    def hold(socket: WebSocketRoute) -> None:
        socket.connect_to_server().on_message(lambda message: messages.append((socket, message)))

    page.route_web_socket(re.compile("/ws/storms/$"), hold)
    page.reload()
    row(page, namespace).locator("a.group .label-value").hover()
    wait_in(page, lambda: messages, "the first message")
    page.mouse.down()
    for socket, message in messages:
        socket.send(message)
    expect_live(page)
    page.mouse.up()
    expect(page).to_have_url(re.compile("/storms/"))


def test_the_noise_reduction_is_written_alike_by_server_and_page_and_fits(open_page: OpenPage) -> None:
    """Not quite all is not 100 %, and a ratio of thousands is not cut off at the edge of its tile."""
    page = open_page("/")
    sockets: list[WebSocketRoute] = []
    page.route_web_socket(re.compile("/ws/storms/$"), lambda socket: sockets.append(socket))
    page.reload()
    wait_in(page, lambda: sockets, "the page's WebSocket")
    sums = [(2015, 2), (0, 0), (7, 7), (40, 37), (1000, 333), (1999, 20), (200_000, 2010), (999_999, 80), (5, 0)]
    sums += [(8, 7), (16, 15), (5, 4), (201, 2)]  # halves
    for alerts, resources in sums:
        none = {"open_storms": 0, "settled_storms": 0, "firing_in_storms": 0}
        totals = none | {"alerts_24h": alerts, "resources_24h": resources}
        sockets[-1].send(json.dumps({"type": "ping", "totals": totals}))
        expect(page.locator('[data-total="alerts_24h"]')).to_have_text(f"{alerts:,}")
        expect(page.locator('[data-total="reduction"]')).to_have_text(reduction(resources, alerts))
        expect(page.locator('[data-total="each"]')).to_have_text(each(alerts, resources))
        for width in (1440, 1280, 1241, 1240, 1001, 1000, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(CUT_OFF, ".totals dd") == [], (alerts, resources, width)


CUT_OFF = """(where) => [...document.querySelectorAll(where)]
  .filter((element) => element.scrollWidth > element.clientWidth).map((element) => element.innerText)"""


def test_a_login_leads_to_the_page(open_page: OpenPage) -> None:
    page = open_page("/", log_in=False)
    expect(page).to_have_url(re.compile(r"/login/\?next=/$"))
    log_in_as(page, USER, PASSWORD)
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


def test_a_storm_is_seen_within_two_seconds(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/")
    expect_live(page)
    console.send(namespace, 10)
    expect(row(page, namespace)).to_be_visible(timeout=2_000)
    storm = row(page, namespace).locator(".storm-rate")
    expect(storm).to_have_attribute("data-trend", "rising")
    expect(field(storm, "trend")).to_have_text("rising")  # not by its colour alone
    expect(field(storm, "per-minute")).to_have_text("10")
    assert (field(storm, "spark").get_attribute("d") or "").startswith("M")
    expect(page.locator('link[rel="icon"]')).to_have_attribute("href", re.compile("favicon-critical"))


def test_a_higher_severity_recolours_the_storm(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/")
    expect_live(page)
    console.send(namespace, 10, severity="warning")
    storm = row(page, namespace)
    expect(storm).to_have_attribute("data-severity", "warning")
    warning = storm.evaluate("e => getComputedStyle(e).borderLeftColor")
    console.send(namespace, 1, severity="critical")
    expect(storm).to_have_attribute("data-severity", "critical")
    expect(field(storm, "severity")).to_have_text("critical")
    assert storm.evaluate("e => getComputedStyle(e).borderLeftColor") != warning


def test_a_group_that_counts_is_seen_with_its_countdown(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/")
    expect_live(page)
    console.send(namespace, 7)
    counting = page.locator("#held .counting", has=page.get_by_text(namespace, exact=True))
    expect(field(counting, "counted")).to_have_text("7")
    expect(field(counting, "threshold")).to_have_text("10")
    left = field(counting, "release")
    expect(left).to_have_text(re.compile(r"^in \d+ s$"))
    seconds = int(re.sub(r"\D", "", left.inner_text()))
    expect(left).to_have_text(f"in {seconds - 1} s")
    # Released, they still count in the window, but nothing waits any more.
    expect(counting).to_have_count(0, timeout=15_000)
    console.send(namespace, 2)
    expect(field(counting, "counted")).to_have_text("9")
    expect(field(counting, "held")).to_have_text("2")
    console.send(namespace, 1)
    expect(field(row(page, namespace), "alerts")).to_have_text("10")
    expect(counting).to_have_count(0)


def test_what_one_acknowledges_in_the_row_the_other_sees(open_page: OpenPage, console: Console, namespace: str) -> None:
    mine, theirs = open_page("/"), open_page("/", own_session=True)
    for page in (mine, theirs):
        expect_live(page)
        page.evaluate("window.notReloaded = true")
    console.send(namespace, 10)
    expect(field(row(theirs, namespace), "who")).to_have_text("nobody has it yet")
    button = row(mine, namespace).get_by_role("button", name=f"Acknowledge namespace={namespace}")
    button.click()
    for page in (mine, theirs):
        expect(field(row(page, namespace), "who")).to_have_text("acknowledged by root")
        expect(row(page, namespace).get_by_role("button", name="Acknowledge")).to_be_hidden()
        assert page.evaluate("window.notReloaded")


def test_a_row_is_acknowledged_without_javascript(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    session = open_page("/").context.storage_state()
    page = open_page("/", log_in=False, java_script_enabled=False, storage_state=session)
    row(page, namespace).get_by_role("button", name="Acknowledge").click()
    expect(page).to_have_url(re.compile(r"/$"))
    expect(page.locator(".messages")).to_have_text(f"Acknowledged: namespace={namespace}.")
    expect(field(row(page, namespace), "who")).to_have_text("acknowledged by root")


@pytest.mark.expects_problem("status of (403|500) .*/acknowledge/")
def test_a_refusal_is_told_in_the_page(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/")
    expect_live(page)
    console.send(namespace, 10)
    button, notice = row(page, namespace).get_by_role("button", name="Acknowledge"), page.locator("#notice")
    for status, told in ((500, "error 500: perhaps it was not done"), (403, "You may not do this")):
        page.route("**/acknowledge/", failing(status))
        button.click()
        expect(notice).to_contain_text(told)
    page.unroute("**/acknowledge/")
    page.evaluate("document.cookie = 'csrftoken=' + 'x'.repeat(32)")  # as after a login in another tab
    button.click()
    expect(notice).to_contain_text("before you logged in anew")
    expect(field(row(page, namespace), "who")).to_have_text("nobody has it yet")


@pytest.mark.expects_problem("status of 401 .*/acknowledge/")
def test_who_acts_logged_out_comes_back_after_the_login(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page(f"/?q={namespace}")
    expect_live(page)
    console.send(namespace, 10)
    button = row(page, namespace).get_by_role("button", name="Acknowledge")
    expect(button).to_be_visible()
    page.context.clear_cookies()
    button.click()
    expect(page).to_have_url(re.compile("/login/"))
    log_in_as(page, USER, PASSWORD)
    expect(page).to_have_url(re.compile(rf":\d+/\?q={namespace}$"))
    expect(field(row(page, namespace), "who")).to_have_text("nobody has it yet")


def test_a_hidden_tab_lets_go_and_catches_up(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_page("/")
    page.clock.install()
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    page.reload()
    expect_live(page)
    assert len(sockets) == 1
    page.evaluate("window.notReloaded = true")
    look_away(page)
    page.clock.fast_forward(20_000)
    expect_live(page)
    page.clock.fast_forward(11_000)
    expect(page.locator("#connection")).to_have_text("Paused while hidden")
    wait_until(
        lambda: page.evaluate("1") and all(socket.is_closed() for socket in sockets), message="the socket closes"
    )
    before = len(sockets)
    page.clock.fast_forward(120_000)
    page.evaluate("dispatchEvent(new Event('online'))")
    console.send(namespace, 10)
    assert len(sockets) == before
    look_back(page)
    expect(field(row(page, namespace), "alerts")).to_have_text("10")
    expect_live(page)
    assert len(sockets) == before + 1
    assert page.evaluate("window.notReloaded")


def look_away(page: Page) -> None:
    page.evaluate(
        "Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true });"
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


def look_back(page: Page) -> None:
    page.evaluate(
        "delete document.visibilityState; delete document.hidden;document.dispatchEvent(new Event('visibilitychange'))"
    )


def test_the_page_is_narrowed_by_text_severity_and_person(
    open_page: OpenPage, console: Console, namespace: str
) -> None:
    names = [f"{namespace}-{name}" for name in ("alpha", "beta", "gamma")]
    page = open_page("/")
    expect_live(page)
    console.send(names[0], 10, severity="critical")
    console.send(names[1], 10, severity="warning")
    shown = page.locator("#section-open .storm:visible", has=page.get_by_text(re.compile(f"^{namespace}-")))
    expect(shown).to_have_count(2)

    page.keyboard.press("/")
    expect(page.locator("[data-search]")).to_be_focused()
    page.keyboard.type(f"namespace={names[0]}")
    expect(shown.locator(".label-value")).to_have_text([names[0]])
    expect(page.locator("#sieve-result")).to_contain_text(re.compile(r"^1 of \d+ rows shown$"))
    page.reload()  # the address keeps it
    expect(shown.locator(".label-value")).to_have_text([names[0]])
    page.get_by_role("button", name="Show all").click()
    expect(shown).to_have_count(2)

    page.get_by_label("warning").check()
    expect(shown.locator(".label-value")).to_have_text([names[1]])
    console.send(names[2], 10, severity="warning")  # what arrives is asked, too
    expect(shown).to_have_count(2)
    row(page, names[2]).get_by_role("button", name="Acknowledge").click()
    page.get_by_label("mine").check()
    expect(shown.locator(".label-value")).to_have_text([names[2]])


def test_the_script_and_the_server_agree_on_rates(open_page: OpenPage) -> None:
    page = open_page("/")
    chance = random.Random(7)
    cases = []
    for _ in range(200):
        now = 1_800_000_000 + chance.random() * 1_000
        newest = int(now // BUCKET_SECONDS)
        counts = {str(newest - chance.randrange(70)): chance.randrange(1, 400) for _ in range(12)}
        cases.append((recent_counts(counts), now))
    told = page.evaluate(
        """async (cases) => {
            const { rateOf } = await import("/static/console/rate.js");
            return cases.map(([recent, now]) => Object.values(rateOf(recent, now)));
        }""",
        cases,
    )
    for (recent, now), (bars, per_minute, trend) in zip(cases, told, strict=True):
        rate = rate_of(recent, now)
        # JavaScript rounds a half up, Python to the even one.
        assert (bars, trend) == (rate.bars, rate.trend)
        assert abs(per_minute - rate.per_minute) <= 1


@pytest.mark.expects_problem("WebSocket connection .* failed: .*ERR_CONNECTION_REFUSED")
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
    page = storm_page(open_page, namespace)
    alerts = page.locator('[data-number="alerts"]')
    expect(alerts).to_have_text("10")
    page.get_by_text("As applied last").click()
    manifest = page.locator('details[data-keep="yaml"] pre')
    expect(manifest).to_contain_text("kind: RemediationRequest")

    console.send(namespace, 4)
    expect(alerts).to_have_text("14")
    expect(page.locator("#alerts tbody tr")).to_have_count(14)
    # The part that the reader opened stays open while it changes around it.
    page.locator("h1").click()
    expect(manifest).to_contain_text("alertCount: 14", timeout=20_000)  # it is read anew every ten seconds

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
    page.keyboard.press("j")
    expect(page.locator("#section-open a.group").first).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#section-open .storm").first.get_by_role("button")).to_be_focused()
    page.keyboard.press("k")
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
