"""The console's pages as the server renders them, and the decision trace in words."""

import html
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from storms import history_words, totals
from storms.figures import each, reduction
from storms.models import Storm, StormPolicy
from storms.totals import SILENT_ALERT
from storms.trace import decision_trace
from tests.factories import (
    make_admin,
    make_alert,
    make_closed_storm,
    make_delivery,
    make_event,
    make_held_alert,
    make_policy,
    make_receiver,
    make_request,
    make_storm,
    make_user,
)

pytestmark = pytest.mark.django_db

UNKNOWN = "5f0c6d2e-0000-4000-8000-000000000000"
"""An id of nothing; fixed, since it is part of the names of tests, which xdist compares between its workers."""


@pytest.fixture
def admin(client: Client) -> Client:
    totals.forget()
    client.force_login(make_admin())
    return client


@pytest.mark.parametrize("path", ["/", f"/storms/{UNKNOWN}/", f"/alerts/{UNKNOWN}/"])
def test_a_page_asks_for_a_login(path: str, client: Client) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"].startswith("/login/?next=/")


@pytest.mark.parametrize("path", ["/", f"/storms/{UNKNOWN}/", f"/alerts/{UNKNOWN}/"])
def test_a_page_needs_the_permission(path: str, client: Client) -> None:
    client.force_login(make_user())
    response = client.get(path)
    assert response.status_code == 403
    assert "You may not see this." in response.content.decode()


def test_what_does_not_exist_is_404(admin: Client) -> None:
    for path in (f"/storms/{uuid4()}/", f"/alerts/{uuid4()}/", "/nothing/"):
        response = admin.get(path)
        assert response.status_code == 404
        assert "There is nothing here." in response.content.decode()


def test_the_page_leads_to_the_first_storm(admin: Client) -> None:
    seen = admin.get("/").content.decode()
    assert '<div class="empty" data-empty="quiet" hidden>' in seen
    assert '<div class="empty" data-empty="fresh">' in seen
    assert "Make a receiver" in seen
    assert "http://testserver/api/v1/webhooks/alertmanager" in seen
    assert "No Kubernetes cluster is configured." in seen
    make_receiver(name="prod-eu")
    assert "Take the token of a receiver (<b>prod-eu</b>)" in admin.get("/").content.decode()


def test_more_storms_than_a_page_holds_are_counted_and_led_to(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storms.live.MAX_STORMS", 3)
    for _ in range(5):
        make_storm(firing_count=4)
    make_closed_storm(firing_count=2)
    seen = admin.get("/").content.decode()
    assert seen.count('data-state="open"') == 3 + 1  # and the template of a row
    assert '<dd data-total="open">5</dd>' in seen
    assert '<dd data-total="firing">22</dd>' in seen
    assert re.findall(r"data-how-many>(\d+)<", seen)[:1] == ["5"]
    assert 'and <span>2</span> more in <a href="/history/?state=open#storms">History</a>' in seen
    assert 'and <span>1</span> more in <a href="/history/?state=settled#storms">History</a>' in seen


def test_a_settled_row_says_what_the_script_says(admin: Client) -> None:
    make_closed_storm(firing_count=2)
    [row] = re.findall(
        r'<li class="storm"[^>]*data-state="settled".*?</li>', admin.get("/").content.decode(), re.DOTALL
    )
    assert '<p data-when="running" hidden>' in row
    assert '<p data-when="ended">' in row


def test_the_page_without_storms_still_says_something(admin: Client) -> None:
    receiver = make_receiver(name="prod-eu", heartbeat_minutes=5)
    make_delivery(receiver=receiver, received_at=timezone.now() - timedelta(minutes=7))
    make_delivery(receiver=receiver, http_status=400, received_at=timezone.now())
    make_receiver(name="staging")
    make_closed_storm()
    make_alert(received_at=timezone.now() - timedelta(minutes=8))
    seen = admin.get("/").content.decode()
    assert '<div class="empty" data-empty="fresh" hidden>' in seen
    quiet = seen[seen.index('data-empty="quiet">') : seen.index('data-empty="fresh"')]
    assert "All quiet: no storm is open." in quiet
    assert re.search(r"The last alert came <b[^>]*><time[^>]*>8 min ago</time>", quiet)
    heard = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", quiet, re.DOTALL)
    assert "7 min ago" in heard[0]
    assert "silent" in heard[0]
    assert "never" in heard[1]
    assert "not watched" in heard[1]


def test_a_row_shows_how_fast_its_storm_grows(admin: Client) -> None:
    bucket = int(timezone.now().timestamp()) // 15
    make_storm(recent={str(bucket): 42, str(bucket - 3): 8})
    seen = admin.get("/").content.decode()
    assert 'data-trend="rising"' in seen
    assert re.search(r'data-field="per-minute">(50|4\d)<', seen)  # the older bucket may just be leaving the minute
    assert 'data-field="spark" d="M' in seen


def test_a_group_that_counts_is_shown_with_its_countdown(admin: Client) -> None:
    for _ in range(7):
        make_held_alert(received_at=timezone.now(), policy=StormPolicy.objects.get(name="default"))
    seen = admin.get("/").content.decode()
    row = seen[seen.index('<li class="counting"') : seen.index("</ul>", seen.index('<li class="counting"'))]
    assert ">7</b> of <b" in row
    assert re.search(r"7</span> held, next released <span[^>]*><time data-until [^>]*>in (9|10) s</time>", row)


def test_who_may_only_look_sees_no_button(client: Client) -> None:
    storm = make_storm()
    client.force_login(make_user("eye", "storms.view_storm"))
    seen = client.get("/").content.decode()
    assert f'href="/storms/{storm.id}/"' in seen
    assert "data-act" not in seen
    assert "/admin/" not in seen.split('id="totals"')[1].split("</dl>")[0]


def test_a_total_leads_to_where_it_can_be_looked_into(admin: Client) -> None:
    make_held_alert(received_at=timezone.now(), resource_name="held-pod")
    make_alert(labels={"alertname": SILENT_ALERT, "receiver": "eu"}, source="heartbeat", resource_name="silent-eu")
    seen = admin.get("/").content.decode()
    totals = seen[seen.index('id="totals"') : seen.index("</dl>")]
    links = {words: html.unescape(link) for link, words in re.findall(r'href="([^"]+)">([^<]+)<', totals)}
    assert len(links) == 6
    pages = {words: admin.get(link) for words, link in links.items()}
    assert {page.status_code for page in pages.values()} == {200}
    assert "held-pod" in pages["Held"].content.decode()
    assert "silent-eu" not in pages["Held"].content.decode()
    assert links["Syncs failing"] == "/system/#failures"
    assert 'id="failures"' in pages["Syncs failing"].content.decode()
    assert "silent-eu" in pages["Receivers silent"].content.decode()
    assert "held-pod" not in pages["Receivers silent"].content.decode()


@pytest.mark.parametrize(
    ("more", "expected"), [((), False), (("ingestion.view_delivery", "storms.view_remediationrequest"), True)]
)
def test_failing_syncs_are_a_link_for_who_may_see_them(more: tuple[str, ...], expected: bool, client: Client) -> None:
    client.force_login(make_user("eye", "storms.view_storm", *more))
    seen = client.get("/").content.decode()
    assert ('<a href="/system/#failures">Syncs failing</a>' in seen) is expected
    if expected:
        assert client.get("/system/").status_code == 200


def test_the_page_shows_every_storm_in_its_section(admin: Client) -> None:
    for storm in (make_storm(), make_closed_storm(firing_count=2), make_closed_storm()):
        make_request(storm=storm)
    seen = admin.get("/").content.decode()
    assert [seen.count(f'data-state="{state}" data-severity') for state in ("settled", "closed")] == [1, 1]
    assert seen.count('data-state="open" data-severity') == 2  # one storm and the template


def test_the_page_takes_as_many_queries_for_many_storms_as_for_one(
    admin: Client, django_assert_num_queries: Any
) -> None:
    admin.get("/")  # the totals are counted, for this page and every other
    for _ in range(5):
        make_request(storm=make_storm())
        make_request(storm=make_closed_storm())
        make_held_alert(received_at=timezone.now())
        make_receiver()
    # Session, user; storms in sight, those that ended, what is held, the receivers.
    with django_assert_num_queries(6):
        admin.get("/")


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def evil_storm() -> Storm:
    storm = make_storm(
        group_labels={"namespace": EVIL, EVIL: "x"}, alert_names=[{"name": EVIL, "count": 1}], policy_name=EVIL
    )
    make_event(storm, message=EVIL, actor=EVIL)
    make_request(storm=storm, last_error=EVIL, phase=EVIL[:32], phase_message=EVIL, manifest={"spec": EVIL})
    return storm


def test_hostile_text_is_text(admin: Client) -> None:
    storm = evil_storm()
    alert = make_alert(
        storm=storm,
        labels={"alertname": EVIL, EVIL: EVIL},
        annotations={EVIL: EVIL},
        resource_name=EVIL,
        receiver=EVIL[:100],
        policy_reason=EVIL,
        generator_url="javascript:alert(1)",
    )
    for path in ("/", f"/storms/{storm.id}/", f"/alerts/{alert.id}/"):
        seen = admin.get(path).content.decode()
        assert "<script>alert" not in seen, path
        assert "<img src=x" not in seen, path
        assert 'href="javascript:' not in seen, path


def test_pages_need_no_inline_script_or_style(admin: Client) -> None:
    """So that a content security policy can forbid both."""
    storm = make_storm()
    make_request(storm=storm)
    alert = make_alert(storm=storm)
    for path in ("/", f"/storms/{storm.id}/", f"/alerts/{alert.id}/"):
        seen = admin.get(path).content.decode()
        assert " style=" not in seen
        assert "<style" not in seen
        assert " onclick=" not in seen
        files = re.findall(r'<script (?:type="module"|defer) src="/static/', seen)
        assert len(re.findall(r'<script\b(?! type="application/json">)', seen)) == len(files)


def test_a_storm_s_page_tells_its_story(admin: Client) -> None:
    earlier = make_closed_storm()
    storm = make_storm(previous=earlier)
    make_event(storm, message="10 alerts in 60 s reached the threshold of 10")
    request = make_request(storm=storm, phase="Processing", phase_message="scaling up")
    make_request(superseded_by=request)
    make_alert(storm=storm, resource_name="api-1")
    seen = admin.get(f"/storms/{storm.id}/").content.decode()
    for words in ("10 alerts in 60 s reached", "scaling up", "1 earlier resource,", "api-1"):
        assert words in seen
    assert f"/storms/{earlier.id}/" in seen
    assert "signalName: HighLatency" in admin.get(f"/remediation-requests/{request.id}/").content.decode()
    assert f"/storms/{storm.id}/" in admin.get(f"/storms/{earlier.id}/").content.decode()


# --- the decision in words


def words(alert: Any) -> list[str]:
    return [step.text for step in decision_trace(alert)]


def test_the_trace_of_a_held_alert() -> None:
    policy = make_policy(name="default-like", threshold=10, window_seconds=60)
    alert = make_held_alert(policy=policy, count=7, policy_reason="no narrower policy matched")
    assert words(alert) == [
        "Received firing from the receiver “alertmanager” (alertmanager); "
        "by its own account it started at 2026-11-16 10:29:30 UTC.",
        "Policy “default-like”, version 1, took it: no narrower policy matched. Its group is namespace=payments.",
        "7 of 10 in 60 s in namespace=payments: below the threshold, so it was held until 10:30:10 UTC, "
        "in case a storm comes.",
        "It still waits.",
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outcome": "storm_opened", "count": 10}, "10 of 10 in 60 s in namespace=payments: it reached the threshold"),
        ({"outcome": "aggregated"}, "A storm of namespace=payments was open: it joined it."),
        ({"outcome": "held"}, "A storm of its group took it in."),
        ({"outcome": "individual"}, "A storm of its group took it in."),
        ({"occurrences": 4}, "Received firing 4 times so far; it counted once."),
        ({"status": "resolved", "resolutions": 1}, "Resolved."),
    ],
)
def test_the_trace_of_a_storm_s_member(fields: dict[str, Any], expected: str) -> None:
    storm = make_storm(group_labels={"namespace": "payments"})
    assert any(expected in step for step in words(make_alert(storm=storm, **fields)))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outcome": "held", "disposition": "individual"}, "No storm came: it was released"),
        ({"outcome": "individual"}, "the policy holds nothing, so it got a RemediationRequest of its own at once."),
        ({"outcome": "deferred", "disposition": "deferred"}, "It still waits for its decision."),
        ({"outcome": "held", "disposition": "resolved_while_held"}, "It resolved while it was held"),
        ({"outcome": "resolved", "disposition": "resolved_unseen"}, "It was never seen firing"),
        ({"outcome": "silenced", "disposition": "silenced"}, "An active silence matched"),
    ],
)
def test_the_trace_of_an_alert_without_a_storm(fields: dict[str, Any], expected: str) -> None:
    assert any(expected in step for step in words(make_alert(**fields)))


def test_the_trace_ends_with_the_resource() -> None:
    alert = make_alert(received_at=timezone.now())
    request = make_request(alert=alert, superseded_by=make_request(storm=make_storm()), phase="Pending")
    assert words(alert)[-1] == (
        f"Its RemediationRequest payments/{request.name} is applied, phase Pending; it is superseded by its storm's."
    )


@pytest.mark.parametrize(
    ("resources", "alerts", "words", "ratio"),
    [
        (0, 0, "\u2014", ""),
        (0, 5, "100 %", ""),
        (7, 7, "0 %", "1.0 to 1"),
        (9, 7, "0 %", "0.8 to 1"),
        (37, 40, "7.5 %", "1.1 to 1"),
        (333, 1000, "67 %", "3.0 to 1"),
        (20, 1999, "99.0 %", "100 to 1"),
        (7, 8, "13 %", "1.1 to 1"),
        (15, 16, "6.3 %", "1.1 to 1"),
        (2, 201, "99.0 %", "101 to 1"),
        (2, 2015, "99.9 %", "1,008 to 1"),
        (1, 90_000, ">99.9 %", "90,000 to 1"),
    ],
)
def test_not_quite_all_is_never_said_to_be_all(resources: int, alerts: int, words: str, ratio: str) -> None:
    assert (reduction(resources, alerts), each(alerts, resources)) == (words, ratio)
    share = max(1 - resources / alerts, 0) if alerts else None
    assert history_words.percent(share) == (words if alerts else history_words.NOTHING)
