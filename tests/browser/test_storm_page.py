"""One storm's page in a real browser: drawn, replayed, searched, compared, downloaded; and on a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.conftest import PASSWORD, Console
from tests.browser.test_now import LOW_CONTRAST, expect_live, field, look_away, look_back, open_storm, row, storm_page
from tests.harness.wait import wait_until

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Page]
_namespaces = count(1)
MEASURE = """
from django.utils import timezone
from storms.models import LabelBaseline
from storms.services.label_baseline import measure_label_baseline
LabelBaseline.objects.all().delete()
measure_label_baseline(now=timezone.now())
"""
EDIT_BY_HAND = """
from storms.models import LocalResource
held = LocalResource.objects.get(namespace="{namespace}", body__spec__isStorm=True)
held.body["spec"]["severity"] = "info"
held.save()
"""
MAKE_VIEWER = f"""
from django.contrib.auth.models import Group, User
user, _ = User.objects.get_or_create(username="looker")
user.set_password("{PASSWORD}")
user.save()
user.groups.set(Group.objects.filter(name="viewer"))
"""
INKED = """canvas => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.some((value, i) => i % 4 === 3 && value);
}"""


@pytest.fixture
def namespace() -> str:
    """A group that no other test uses."""
    return f"stage-{next(_namespaces)}"


def test_the_chart_is_drawn_and_follows(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = storm_page(open_page, namespace)
    expect(page.locator("#chart-state canvas")).to_be_visible()
    for chart in ("#chart-state", "#chart-new"):
        assert page.locator(f"{chart} canvas").evaluate(INKED)
    expect(page.locator("#moment-firing")).to_have_text("10")
    console.send(namespace, 5)
    expect(page.locator("#moment-firing")).to_have_text("15")
    page.locator("#course summary").click()
    expect(page.locator("#course-table tbody tr").last.locator("td").nth(3)).to_have_text("15")


ALERTS = '[data-number="alerts"]'


def fetches(page: Page) -> list[Request]:
    """The page's requests for itself, as they are made from now on."""
    asked: list[Request] = []

    def note(request: Request) -> None:
        if "x-console-version" in request.headers and re.search(r"/storms/[^/]+/$", request.url):
            asked.append(request)

    page.on("request", note)
    return asked


def let_pass(page: Page, asked: list[Request], seconds: int) -> None:
    """In small steps: an answer must not seem to have taken all this time."""
    for _ in range(5 * seconds):
        page.clock.run_for(200)
        for request in asked:
            if answer := request.response():
                answer.finished()


def let_pass_until(page: Page, asked: list[Request], is_shown: Callable[[], bool]) -> None:
    """What the server gives may be late by its own clock, which goes on as ever."""

    def look() -> bool:
        let_pass(page, asked, 1)
        return is_shown()

    wait_until(look, message=f"{len(asked)} requests, and it is not shown")


def open_with_a_clock(open_page: OpenPage, console: Console, namespace: str) -> Page:
    """The first page with a storm of ten alerts; the storm's page, opened from it, goes by this clock."""
    console.send(namespace, 10)
    page = open_page("/")
    row(page, namespace).wait_for()
    page.clock.install()
    return page


def test_counts_come_with_the_message_and_the_page_is_fetched_rarely(
    open_page: OpenPage, console: Console, namespace: str
) -> None:
    page = open_with_a_clock(open_page, console, namespace)
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    asked = fetches(page)
    open_storm(page, namespace)
    assert asked == []  # time stands still, and so does the page
    console.send(namespace, 2)
    expect(page.locator(ALERTS)).to_have_text("12")
    expect(page.locator("#alerts tbody tr")).to_have_count(10)
    let_pass(page, asked, 1)
    expect(page.locator("#alerts tbody tr")).to_have_count(12)
    assert len(asked) == 1
    for second in range(20):
        console.send(namespace, 1)
        expect(page.locator(ALERTS)).to_have_text(str(13 + second))
        let_pass(page, asked, 1)
    assert 4 <= len(asked) <= 8
    let_pass_until(page, asked, lambda: "32" in page.locator("#alerts-number").inner_text())


def test_a_part_with_a_pace_misses_no_change(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_with_a_clock(open_page, console, namespace)
    open_storm(page, namespace)
    found = page.locator("#resources-found tbody tr")
    expect(found).to_have_count(10)
    asked = fetches(page)
    for number in range(4):  # all of them within one pause of the resources
        console.send(namespace, 1)
        expect(page.locator(ALERTS)).to_have_text(str(11 + number))
        let_pass(page, asked, 3)
    let_pass_until(page, asked, lambda: found.count() == 14)


def test_what_somebody_does_is_shown_at_once_in_a_busy_storm(
    open_page: OpenPage, console: Console, namespace: str
) -> None:
    theirs = open_with_a_clock(open_page, console, namespace)
    open_storm(theirs, namespace)
    for second in range(4):
        console.send(namespace, 1)
        expect(theirs.locator(ALERTS)).to_have_text(str(11 + second))
        theirs.clock.run_for(1000)
    mine = storm_page(open_page, namespace, own_session=True)
    mine.locator("#hands").get_by_role("button", name="Acknowledge").click()
    expect(theirs.locator("#head")).to_contain_text("by root", timeout=2_000)


def test_a_hidden_page_is_not_fetched(open_page: OpenPage, console: Console, namespace: str) -> None:
    page = open_with_a_clock(open_page, console, namespace)
    open_storm(page, namespace)
    page.clock.run_for(10_000)
    asked = fetches(page)
    look_away(page)
    console.send(namespace, 2)
    expect(page.locator(ALERTS)).to_have_text("12")
    page.clock.run_for(20_000)
    assert asked == []
    look_back(page)
    expect(page.locator("#alerts tbody tr")).to_have_count(12)
    assert len(asked) <= 2  # the first may have been given a late answer


# As the watch writes it; the local cluster has no operator.
MIRROR = """
from storms.models import RemediationRequest
from storms.services import requests
row = RemediationRequest.objects.get(namespace="{namespace}", kind="storm")
requests.mirror_status(rr_id=row.id, uid=row.uid, resource_version="2", generation=1,
    phase="{phase}", message="{message}", status={{"phase": "{phase}", "message": "{message}"}})
"""
FAIL = """
from storms.models import RemediationRequest
from storms.services import requests
row = RemediationRequest.objects.get(namespace="{namespace}", kind="storm")
requests.record_failure(rr_id=row.id, attempts=8, error="503 the API server is on fire")
"""


def test_a_phase_and_a_failing_sync_are_shown_without_a_reload(
    open_page: OpenPage, console: Console, namespace: str
) -> None:
    console.send(namespace, 10)
    now, page = open_page("/"), storm_page(open_page, namespace)
    expect_live(now)
    resource, storm = page.locator("#resource"), row(now, namespace)
    for sync in (resource.locator('[data-field="sync"]'), field(storm, "sync")):
        expect(sync).to_have_text("applied")
    for one in (now, page):
        one.evaluate("window.notReloaded = true")

    def manage(snippet: str, **words: str) -> None:
        console.stack.manage("shell", "--verbosity", "0", "-c", snippet.format(namespace=namespace, **words))

    for phase, message in (("Processing", "the operator works"), ("Failed", "no node is left")):
        manage(MIRROR, phase=phase, message=message)
        for pill in (resource.locator('[data-field="phase"]'), field(storm, "phase")):
            expect(pill).to_have_text(phase)
            expect(pill).to_have_attribute("data-tone", f"phase-{phase}")
        expect(resource).to_contain_text(message)
        expect(page.locator("#timeline")).to_contain_text(f"Phase: {phase} ({message})")
    manage(FAIL)
    for sync in (resource.locator('[data-field="sync"]'), field(storm, "sync")):
        expect(sync).to_have_text("failed")
    expect(field(storm, "error")).to_have_text("503 the API server is on fire")
    expect(resource).to_contain_text("503 the API server is on fire", timeout=10_000)
    for one in (now, page):
        assert one.evaluate("window.notReloaded")


def test_a_replay_leads_through_the_storm(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10, alertname="DiskPressure")
    page = storm_page(open_page, namespace)
    slider = page.locator("#replay-at")
    expect(slider).to_be_visible()
    expect(page.locator("#replay-end")).to_be_disabled()
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#moment-firing")).to_have_text("0")
    expect(page.locator(".replay-line").first).to_be_visible()
    expect(page.locator("#moment-names tr")).to_have_count(1)
    expect(page.locator("#moment-names th")).to_have_text("DiskPressure")
    expect(page.locator("#timeline .not-yet").first).to_be_visible()
    assert re.search(r"UTC: 0 firing, 0 resolved", slider.get_attribute("aria-valuetext") or "")
    # Played to its end it follows the storm again.
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#moment-firing")).to_have_text("10", timeout=40_000)
    expect(page.locator("#replay-end")).to_be_disabled(timeout=40_000)
    expect(page.locator("#timeline .not-yet")).to_have_count(0)
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_a_hidden_tab_asks_for_nothing_and_catches_up(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = storm_page(open_page, namespace)
    page.clock.install()
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))))
    page.reload()
    expect_live(page)
    page.wait_for_load_state("networkidle")
    look_away(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    # The connection is kept for thirty seconds: the page hears that the storm has changed.
    console.send(namespace, 3)
    wait_until(lambda: page.evaluate("1") and any('"alert_count":13' in frame for frame in frames), message=str(frames))
    page.clock.fast_forward(25_000)
    page.clock.fast_forward(60_000)
    assert asked == []
    look_back(page)
    expect(page.locator('[data-number="alerts"]')).to_have_text("13")
    page.clock.fast_forward(5_000)
    expect(page.locator("#replay-at")).to_have_attribute("aria-valuetext", re.compile("13 firing"))


def test_suspects_and_label_values_come_after_the_page(open_page: OpenPage, console: Console, namespace: str) -> None:
    for number in range(3):
        console.send(f"{namespace}-elsewhere-{number}", 9, node="node-1")
    console.send(namespace, 12, node="node-7")
    console.stack.manage("shell", "--verbosity", "0", "-c", MEASURE)
    page = storm_page(open_page, namespace)
    suspect = page.locator(".suspects tbody tr", has_text="node-7")
    expect(suspect).to_contain_text("100 %")
    expect(page.locator(".breakdown caption", has_text="node")).to_be_visible()
    page.get_by_role("link", name=re.compile("All .* labels")).click()
    expect(page.locator("h1")).to_contain_text("have in common")
    page.locator(".suspects").get_by_role("link", name="node-7").click()
    expect(page.locator("#rows tr[data-row]")).to_have_count(12)


def page_with_a_needle(open_page: OpenPage, console: Console, namespace: str) -> Page:
    """Of a storm of eleven alerts, one of them of the pod needle-1."""
    console.send(namespace, 10)
    console.send(namespace, 1, pod="needle-1")
    return storm_page(open_page, namespace)


def test_a_search_answers_while_one_types_and_outlives_a_change(
    open_page: OpenPage, console: Console, namespace: str
) -> None:
    page = page_with_a_needle(open_page, console, namespace)
    found = page.locator("#alerts-found tbody tr")
    expect(found).to_have_count(11)
    page.locator("#alerts-q").press_sequentially("NEEDLE")
    expect(found).to_have_count(1)
    expect(page.locator("#alerts-q")).to_be_focused()
    console.send(namespace, 2)
    expect(page.locator('[data-number="alerts"]')).to_have_text("13")
    expect(found).to_have_count(1)
    page.locator("#alerts-q").fill("")
    expect(found).to_have_count(13)

    page.locator("#resources-q").fill("needle")
    resources = page.locator("#resources-found tbody tr")
    expect(resources).to_have_count(1)
    resources.get_by_role("link").click()
    expect(page).to_have_url(re.compile(rf"/alerts/\?namespace={namespace}&kind=Pod&name=needle-1$"))
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="needle-1 in").click()
    expect(page.locator("tbody tr")).to_have_count(13)


def test_what_is_typed_before_the_scripts_are_there_is_searched_for(
    open_page: OpenPage, console: Console, namespace: str
) -> None:
    page = page_with_a_needle(open_page, console, namespace)
    late: list[Route] = []
    page.route("**/htmx.min*.js", lambda route: late.append(route))
    page.goto(page.url, wait_until="commit")
    page.locator("#alerts-q").press_sequentially("needle")
    expect(page.locator("#alerts-found tbody tr")).to_have_count(11)
    for route in late:
        route.continue_()
    expect(page.locator("#alerts-found tbody tr")).to_have_count(1)
    expect(page.locator("#alerts-q")).to_have_value("needle")


def test_an_edit_in_the_cluster_is_shown_field_by_field(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = storm_page(open_page, namespace)
    expect(page.locator("#resource [data-field=sync]")).to_have_text("applied")
    expect(page.locator("#compared")).to_contain_text("as applied")
    console.stack.manage("shell", "--verbosity", "0", "-c", EDIT_BY_HAND.format(namespace=namespace))
    page.reload()
    compared = page.locator("#compared")
    expect(compared.locator("tbody th")).to_have_text("spec.severity")
    expect(compared.locator("del")).to_have_text('"critical"')
    expect(compared.locator("ins")).to_have_text('"info"')
    with page.expect_download() as download:
        compared.get_by_role("link", name="as in the cluster").click()
    assert "severity: info" in Path(download.value.path()).read_text()


def test_the_post_mortem_is_downloaded(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    page = storm_page(open_page, namespace)
    page.get_by_role("link", name="Post-mortem").click()
    expect(page.locator("h1")).to_have_text(f"Post-mortem: storm of namespace={namespace}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download Markdown").click()
    assert download.value.suggested_filename.endswith("-post-mortem.md")
    assert Path(download.value.path()).read_text().startswith("# Post-mortem: storm of namespace=stage")
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    assert json.loads(Path(download.value.path()).read_text())["impact"]["alerts"] == 10
    with page.expect_download() as download:
        page.get_by_role("link", name="Alerts as CSV").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 11


def test_an_empty_silence_form_opens_calm(open_page: OpenPage) -> None:
    page = open_page("/silences/new/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.locator(".error")).to_have_count(0)
    page.locator("#matchers").fill('team="calm"')
    expect(page.locator('[data-preview="firing"]')).to_have_text("0")
    assert [url for url in asked if "/silences/preview/" in url and "calm" not in url] == []


def test_silence_like_this(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10, alertname="DiskPressure")
    page = storm_page(open_page, namespace)
    page.get_by_role("link", name="Silence like this").click()
    expect(page.locator("#matchers")).to_have_value(f'alertname="DiskPressure"\nnamespace="{namespace}"')
    expect(page.locator('[data-preview="firing"]')).to_have_text("10")
    expect(page.locator('[data-preview="storms"]')).to_have_text("1")
    page.locator("#comment").fill("the disk is being replaced")
    page.get_by_role("button", name="Silence", exact=True).click()
    expect(page.locator(".messages")).to_have_text("Silenced: it holds from the next alert on.")
    console.send(namespace, 1, alertname="DiskPressure")
    page.goto("/silences/")
    silence = page.locator(".silence", has_text=namespace)
    expect(silence).to_contain_text("the disk is being replaced")
    silence.get_by_role("button", name="End it now").click()
    expect(page.locator(".messages")).to_contain_text("Ended")
    page.goto("/")
    expect(row(page, namespace).locator('[data-field="alerts"]')).to_have_text("10")


def test_who_may_only_look_can_replay_and_not_act(open_page: OpenPage, console: Console, namespace: str) -> None:
    console.send(namespace, 10)
    console.stack.manage("shell", "--verbosity", "0", "-c", MAKE_VIEWER)
    page = open_page("/", log_in=False)
    page.fill("#id_username", "looker")
    page.fill("#id_password", PASSWORD)
    page.press("#id_password", "Enter")
    row(page, namespace).locator("a.group").click()
    expect(page.locator("#replay-at")).to_be_visible()
    expect(page.locator('main form[method="post"], #hands')).to_have_count(0)
    expect(page.get_by_role("link", name="Silence like this")).to_have_count(0)
    csrf = page.evaluate("JSON.parse(document.body.getAttribute('hx-headers'))['X-CSRFToken']")
    for address in (f"{page.url}note/", f"{page.url}close/", f"{console.stack.url}/silences/create/"):
        answer = page.request.post(address, form={"text": "x", "comment": "x"}, headers={"X-CSRFToken": csrf})
        assert answer.status == 403, address


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_reads_well(open_page: OpenPage, console: Console, namespace: str, scheme: str) -> None:
    console.send(namespace, 12, pod="a-pod-with-a-very-long-name-" * 3)
    page = storm_page(open_page, namespace, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    expect(page.locator("#chart-state canvas")).to_be_visible()
    expect(page.locator("#compared")).to_be_visible()
    expect(page.locator("#resources-found table")).to_be_visible()
    page.locator("#replay-at").fill("0")
    storm = page.url
    for address in ("", "breakdown/", "alerts/", "resources/", "post-mortem/"):
        if address:
            page.goto(storm + address)
        assert page.evaluate("document.documentElement.scrollWidth") == 390, address
        assert page.evaluate(LOW_CONTRAST) == [], address
    page.goto("/silences/new/?storm=" + storm.rstrip("/").rpartition("/")[2])
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(LOW_CONTRAST) == []
