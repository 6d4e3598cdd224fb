"""What holds for every page, the admin's and the API documentation's too, found by their addresses, new ones too.

No error in the browser's console, no report of the content security policy, no request to another host, no serious
finding of axe-core in light and dark, no sideways scrolling on a phone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.apps import apps
from django.urls import reverse
from playwright.sync_api import APIResponse, Browser, BrowserContext, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from tests.browser.addresses import Address, addresses
from tests.browser.conftest import PASSWORD, USER, Console, log_in_as
from tests.browser.problems import Problems
from tests.harness.http import alert, post_many, resolved

pytestmark = pytest.mark.slow

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
ROWS = {
    "storm_id": "select id from storms_storm order by alert_count desc limit 1",
    "alert_id": "select id from storms_alert where storm_id is not null limit 1",
    "request_id": "select id from storms_remediationrequest limit 1",
    "delivery_id": "select id from ingestion_delivery limit 1",
    "filter_id": "select id from storms_savedfilter limit 1",
    "rr_id": "select id from storms_remediationrequest limit 1",
    "silence_id": "select id from ingestion_silence limit 1",
    "version": "select 1",
    "letter_id": "select id from ingestion_deadletter limit 1",
}
"""Where the parameters of addresses come from; the admin's `object_id` is the first row of its model."""
NO_MOTION = """() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("*, *::before, *::after { transition: none !important; animation: none !important; }");
  document.adoptedStyleSheets.push(sheet);
}"""
# The admin decides at loading, by a class.
UNFOLD_SCHEME = (
    "scheme => document.documentElement.matches('[x-data]') && (document.documentElement.className = scheme)"
)
ACCEPTED: dict[str, str] = {}
"""axe's rules that a page may break: `page name: rule` and the reason."""


class Watched:
    """A page of a logged-in administrator, and what went wrong on it since the last `visit`."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.context = context
        self.heard = Problems([base])
        self.heard.watch(context)
        self.page: Page = context.new_page()
        self.page.set_default_timeout(20_000)

    def visit(self, path: str) -> None:
        self.heard.found.clear()
        self.page.set_viewport_size(DESK)
        self.page.emulate_media(color_scheme="light")
        self.page.goto(path, wait_until="load")
        self.page.evaluate(NO_MOTION)
        expect(self.page.locator(".htmx-request")).to_have_count(0)
        if self.page.locator("#swagger-ui").count():
            # It draws itself after the page has loaded.
            expect(self.page.locator(".opblock").first).to_be_visible()

    def findings(self, name: str, *expected: str) -> list[str]:
        """All that is wrong with the page that is open, for the message of a failed test."""
        found = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            self.page.evaluate(UNFOLD_SCHEME, scheme)
            found += [f"{scheme}: {line}" for line in serious(self.page, name)]
        self.page.set_viewport_size(PHONE)
        try:
            # The first answer after a change of size may be that of the old one.
            self.page.wait_for_function(
                "width => document.documentElement.scrollWidth <= width", arg=PHONE["width"], timeout=5_000
            )
        except PlaywrightTimeoutError:
            width = self.page.evaluate("document.documentElement.scrollWidth")
            found.append(f"{width} px wide on a phone: {self.page.evaluate(WIDE)}")
        return found + self.heard.unexpected(expected)


# The texts that stick out to the right.
WIDE = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [], range = document.createRange();
  while (walker.nextNode()) {
    range.selectNodeContents(walker.currentNode);
    if (range.getBoundingClientRect().right > 391) found.push(walker.currentNode.parentElement.outerHTML.slice(0, 200));
  }
  return found.slice(0, 4);
}"""


def serious(page: Page, name: str) -> list[str]:
    """axe-core's serious and critical findings, a line each."""
    results = Axe().run(page, options={"resultTypes": ["violations"]}).response
    lines = []
    for violation in results["violations"]:
        if violation["impact"] not in {"serious", "critical"} or f"{name}: {violation['id']}" in ACCEPTED:
            continue
        nodes = [
            f"{node['html'][:200]} ({node['failureSummary'].splitlines()[1].strip()})" for node in violation["nodes"]
        ]
        lines.append(f"{violation['id']}, {len(nodes)} times: {'; '.join(nodes[:3])}")
    return lines


@pytest.fixture(scope="module")
def filled(console: Console) -> Console:
    """A console with storms that burn, one that ended, single alerts, a dead letter, a silence, a token."""
    stack = console.stack
    console.send("burning", 12)
    ended = console.send("ended", 10, severity="warning")
    console.deliver([resolved(item) for item in ended])
    console.send("burning-too", 10)
    console.send("quiet", 3)
    bad = {"version": "4", "status": "firing", "alerts": [alert(namespace="quiet"), {"labels": {"alertname": 7}}]}
    [answer] = post_many(stack.url, console.token, [bad])
    assert answer.body["summary"]["rejected"] == 1, answer
    stack.manage("shell", "--verbosity", "0", "-c", MAKE_ROWS)
    return console


VIEWER = "only-looks"
MAKE_ROWS = f"""
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from ingestion.models import Silence
from ingestion.silence_services import create_silence
from stormconsole.accounts.services import create_user
from storms.api_tokens import create_api_token
from storms.models import SavedFilter
create_user(username="{VIEWER}", role="viewer", password="{PASSWORD}")
create_api_token(user=User.objects.get(username="{VIEWER}"), actor="{USER}")
now = timezone.now()
silence = Silence(matchers='namespace="nightly"', starts_at=now, ends_at=now + timedelta(hours=2), comment="backup")
create_silence(silence=silence, author="{USER}")
SavedFilter.objects.create(owner=User.objects.get(username="{USER}"), name="burning", query="severity=critical")
"""


@pytest.fixture(scope="module")
def watched(filled: Console, browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(base_url=filled.stack.url, viewport=DESK)
    watch = Watched(context, filled.stack.url)
    watch.page.goto("/login/")
    log_in_as(watch.page, USER, PASSWORD)
    yield watch
    context.close()


def parameters(address: Address, query: Callable[..., list[tuple[Any, ...]]]) -> dict[str, Any]:
    """A row for each parameter. A new parameter, or a model without a row, fails: say above where one comes from."""
    found: dict[str, Any] = {"app_label": "storms"} if address.name == "admin:app_list" else {}
    for name in address.parameters:
        if name in ROWS:
            rows = query(ROWS[name])
        elif name in {"object_id", "id", "policy_id"}:
            app, model = address.name.removeprefix("admin:").split("_")[:2]
            table = apps.get_model(app, model)._meta
            rows = query(f"select {table.pk.column} from {table.db_table} limit 1")
        else:
            raise AssertionError(f"{address.name}: where does a {name} come from?")
        assert rows, f"{address.name}: no row for {name}; make one in `filled`"
        found[name] = rows[0][0]
    return found


def is_page(answer: APIResponse, address: Address) -> bool:
    """A whole page to be read: no download, no target of a form, no form for rows that only the console writes."""
    if answer.status == 405 or (answer.status == 403 and address.name.endswith("_add")):
        return False
    if address.name in ELSEWHERE:
        return False
    assert answer.status == 200, f"{address.name}: {answer.status}"
    # A part of a page, fetched by htmx, is tested on the page that it is put into.
    return answer.headers["content-type"].startswith("text/html") and "<html" in answer.text()


ELSEWHERE = {
    "login": "leads on who is logged in; has a test of its own",
    "single-sign-on": "leads to the provider; tests/stormconsole/test_single_sign_on.py",
    "single-sign-on-callback": "comes from the provider; tests/stormconsole/test_single_sign_on.py",
}
"""Addresses whose answer to a logged-in administrator is no page, and why."""


LEADS_ON = ("_view_in_console", "_in_history")
"""The admin's buttons that lead to the console."""


def test_an_operation_that_is_opened_in_the_documentation_reads_well_too(watched: Watched) -> None:
    watched.visit(reverse("docs"))
    operations = watched.page.locator(".opblock")
    for path in ("/alerts/", "/policies/"):
        operation = operations.filter(has=watched.page.locator(f'[data-path="/api/v1{path}"]')).last
        operation.locator(".opblock-summary-control").click()
        expect(operation.locator(".responses-wrapper")).to_be_visible()
    assert watched.findings("docs") == []


@pytest.mark.parametrize("address", [pytest.param(address, id=address.name) for address in addresses()])
def test_a_page_keeps_what_all_pages_promise(address: Address, filled: Console, watched: Watched) -> None:
    path = reverse(address.name, kwargs=parameters(address, filled.stack.query))
    request = watched.context.request
    if address.name.endswith(LEADS_ON):
        # To a page that has a case of its own.
        assert (request.get(path, max_redirects=0).status, request.get(path).status) == (302, 200)
        return
    if not is_page(request.get(path, max_redirects=0), address):
        return
    watched.visit(path)
    assert watched.findings(address.name) == []


@pytest.mark.parametrize("path", ["/nothing/", "/storms/5f0c6d2e-0000-4000-8000-000000000000/"])
def test_so_does_the_page_for_what_does_not_exist(path: str, watched: Watched) -> None:
    watched.visit(path)
    assert watched.findings("404", f"status of 404 .*{path}") == []


def test_so_do_the_login_and_the_refusals(filled: Console, browser: Browser) -> None:
    context = browser.new_context(base_url=filled.stack.url, viewport=DESK)
    watch = Watched(context, filled.stack.url)
    watch.visit("/login/")
    assert watch.findings("login") == []
    for _ in range(2):
        watch.page.fill("#id_username", "nobody")
        watch.page.fill("#id_password", "wrong")
        watch.page.press("#id_password", "Enter")
        expect(watch.page.get_by_role("alert")).to_be_visible()
    assert watch.findings("login") == []
    watch.visit("/login/")
    log_in_as(watch.page, VIEWER, PASSWORD)
    watch.visit("/admin/")
    expect(watch.page.get_by_role("heading", name="You may not see this.")).to_be_visible()
    assert watch.findings("403", "status of 403 .*/admin/") == []
    context.close()


def unfold(summary: str) -> Callable[[Page], None]:
    """Opens the first menu whose summary begins so."""

    def act(page: Page) -> None:
        page.locator("main summary", has_text=re.compile(rf"^\s*{summary}")).first.click()
        expect(page.locator("main details[open] > summary", has_text=summary).first).to_be_visible()

    return act


def _look_at_the_account(page: Page) -> None:
    page.locator(".account summary").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


def _ask_for_the_keys(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


def _mistype_a_matcher(page: Page) -> None:
    page.fill("#q", '{namespace="quiet" pod="x"}')
    page.keyboard.press("Enter")
    expect(page.locator("#q-error mark")).to_be_visible()


def _complete_a_name(page: Page) -> None:
    page.locator("#q").press_sequentially("{names")
    expect(page.locator("#q-list [role=option]").first).to_be_visible()
    page.keyboard.press("ArrowDown")


def _preview_a_silence(page: Page) -> None:
    page.fill("#matchers", 'namespace="burning"')
    expect(page.locator('[data-preview="firing"]')).to_have_text("12")


def _mistype_a_silence(page: Page) -> None:
    page.fill("#matchers", "namespace=~(")
    expect(page.locator("#preview .error")).to_be_visible()


STORM = "/storms/{storm_id}/"
STATES: dict[str, tuple[str, Callable[[Page], None]]] = {
    "assign": (STORM, unfold("Assign")),
    "note": (STORM, unfold("Note")),
    "merge": (STORM, unfold("Merge")),
    "close": (STORM, unfold("Close")),
    "split": (STORM, unfold("Split")),
    "columns": ("/alerts/", unfold("Columns")),
    "save": ("/alerts/", unfold("Save")),
    "more-conditions": ("/alerts/", unfold("More conditions")),
    "completion": ("/alerts/", _complete_a_name),
    "bad-matcher": ("/alerts/", _mistype_a_matcher),
    "account": ("/", _look_at_the_account),
    "keys": ("/", _ask_for_the_keys),
    "silence-preview": ("/silences/new/", _preview_a_silence),
    "silence-mistake": ("/silences/new/", _mistype_a_silence),
}


@pytest.mark.parametrize("name", STATES)
def test_so_does_what_opens_on_a_page(name: str, filled: Console, watched: Watched) -> None:
    path, act = STATES[name]
    [(storm_id,)] = filled.stack.query(ROWS["storm_id"])
    watched.visit(path.format(storm_id=storm_id))
    act(watched.page)
    assert watched.findings(name) == []


def test_every_reason_for_an_exception_is_still_needed() -> None:
    names = {address.name for address in addresses()} | {"404", "403"}
    assert {key.split(": ")[0] for key in ACCEPTED} <= names
    assert set(ELSEWHERE) <= names
