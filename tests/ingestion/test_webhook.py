"""What a webhook is answered, and what is stored by then."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ingestion.ledger import totals
from ingestion.models import DeadLetter, Delivery, Receiver
from ingestion.services import create_receiver, rotate_token
from storms.models import Alert, RemediationRequest, Storm, StormEvent
from tests.harness.http import alert, payload, resolved


def outcomes(response: Any) -> list[str]:
    return [result["outcome"] for result in response.json()["results"]]


def test_it_holds_an_alert_below_the_threshold(console):
    response = console.post(payload([alert(namespace="payments")]))

    assert response.status_code == 202
    [result] = response.json()["results"]
    assert result["outcome"] == "held"
    assert result["group"] == {"namespace": "payments"}
    assert (result["count"], result["threshold"]) == (1, 10)
    assert result["releaseAt"]
    row = Alert.objects.get()
    assert (row.disposition, row.storm, row.occurrences) == ("held", None, 1)
    assert (row.release_at - row.decided_at).total_seconds() == 10
    assert not RemediationRequest.objects.exists()


def test_it_opens_one_storm_for_fifteen_alerts(console, enqueued):
    responses = [console.post(payload([alert(namespace="demo")])) for _ in range(15)]

    assert Counter(response.status_code for response in responses) == {202: 14, 201: 1}
    assert [outcomes(r)[0] for r in responses] == ["held"] * 9 + ["storm_opened"] + ["aggregated"] * 5
    storm = Storm.objects.get()
    assert storm.alerts.count() == 15
    assert set(storm.alerts.values_list("disposition", flat=True)) == {"member"}
    assert RemediationRequest.objects.get().name == f"storm-{storm.id}"
    assert StormEvent.objects.get().kind == "opened"
    assert enqueued[0] == storm.id
    assert totals()["unaccounted"] == 0


def test_it_makes_individual_requests_at_once_in_immediate_mode(console, set_policy):
    set_policy(hold_seconds=0)

    responses = [console.post(payload([alert(namespace="demo")])) for _ in range(15)]

    assert Counter(response.status_code for response in responses) == {201: 10, 202: 5}
    assert [outcomes(r)[0] for r in responses] == ["individual"] * 9 + ["storm_opened"] + ["aggregated"] * 5
    assert responses[0].json()["results"][0]["remediationRequest"] == f"alert-{Alert.objects.earliest('decided_at').id}"
    active = RemediationRequest.objects.filter(superseded_by=None)
    assert [request.kind for request in active] == ["storm"]
    assert RemediationRequest.objects.filter(superseded_by=active[0]).count() == 9
    assert all(request.name == f"{request.kind}-{request.id}" for request in RemediationRequest.objects.all())


def test_it_counts_a_group_sent_again_once(console, set_policy):
    set_policy(threshold=100)
    group = [alert(namespace="demo") for _ in range(50)]
    console.post(payload(group))

    response = console.post(payload([*group, alert(namespace="demo")]))

    assert Counter(outcomes(response)) == {"duplicate": 50, "held": 1}
    assert response.json()["results"][50]["count"] == 51
    assert Alert.objects.count() == 51
    assert Counter(Alert.objects.values_list("occurrences", flat=True)) == {2: 50, 1: 1}


def test_it_counts_nothing_that_a_second_receiver_sends_again(console):
    group = [alert(namespace="demo") for _ in range(8)]
    console.post(payload(group))
    _, replica = create_receiver(name="replica", kind="alertmanager")

    response = console.post(payload(group), token=replica)

    assert Counter(outcomes(response)) == {"duplicate": 8}
    assert Alert.objects.count() == 8


def test_it_counts_an_alert_that_a_payload_holds_twice_once(console):
    twice = alert(namespace="demo")

    response = console.post(payload([twice, twice]))

    assert outcomes(response) == ["held", "duplicate"]
    assert totals() == totals() | {"received": 2, "recorded": 2, "unaccounted": 0}


def test_it_records_a_resolution(console):
    firing = alert(namespace="demo")
    console.post(payload([firing]))

    response = console.post(payload([resolved(firing)]))

    assert (response.status_code, outcomes(response)) == (202, ["resolved"])
    row = Alert.objects.get()
    assert (row.status, row.disposition, row.resolutions) == ("resolved", "resolved_while_held", 1)
    assert row.ends_at is not None


def test_it_records_the_resolution_of_an_alert_never_seen_firing(console):
    response = console.post(payload([alert(status="resolved")]))

    assert outcomes(response) == ["resolved"]
    row = Alert.objects.get()
    assert (row.disposition, row.decided_at, row.occurrences) == ("resolved_unseen", None, 0)


def test_a_late_copy_of_a_resolved_episode_does_not_fire_again(console):
    firing = alert(namespace="demo")
    console.post(payload([firing]))
    console.post(payload([resolved(firing)]))

    assert outcomes(console.post(payload([firing]))) == ["duplicate"]
    assert Alert.objects.get().status == "resolved"


def test_it_applies_an_edited_threshold_to_the_next_alert(console, set_policy):
    console.post(payload([alert(namespace="demo")]))
    set_policy(threshold=2)

    response = console.post(payload([alert(namespace="demo")]))

    assert outcomes(response) == ["storm_opened"]
    assert Storm.objects.get().policy_version == 2


def test_it_refuses_a_rotated_token_at_once(console):
    assert console.post(payload([alert()])).status_code == 202
    rotate_token(receiver=Receiver.objects.get(name="test"), overlap=timedelta(0))

    response = console.post(payload([alert()]))

    assert response.status_code == 401
    assert Alert.objects.count() == 1


def test_no_token_is_kept_or_logged_in_clear(console, caplog):
    caplog.set_level("DEBUG")
    console.post(payload([alert()]))
    console.post("not JSON")
    new = rotate_token(receiver=Receiver.objects.get(name="test"))

    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'select t::text from "{table}" t')
            stored = "".join(row for [row] in cursor.fetchall())
            assert console.token not in stored, table
            assert new not in stored, table
    assert console.token not in caplog.text
    assert new not in caplog.text


def test_it_takes_the_token_as_basic_password(console):
    from base64 import b64encode

    basic = b64encode(f"alertmanager:{console.token}".encode()).decode()
    assert console.post(payload([alert()]), HTTP_AUTHORIZATION=f"Basic {basic}").status_code == 202


def test_it_answers_with_and_without_a_trailing_slash(console):
    assert console.post(payload([alert()]), path="/api/v1/webhooks/alertmanager/").status_code == 202


ONE_BAD_LABEL = {"alertname": "a", "pod": 7}
BAD_BODIES = {
    "not JSON": ("{", ""),
    "not an object": ("[]", ""),
    "no alerts key": ({}, "/alerts"),
    "alerts of a wrong type": ({"alerts": "many"}, "/alerts"),
    "no alerts": (payload([]), "/alerts"),
    "truncatedAlerts of a wrong type": (payload([alert()], truncatedAlerts="3"), "/truncatedAlerts"),
    "a label that is no string": (payload([alert() | {"labels": ONE_BAD_LABEL}]), "/alerts/0/labels"),
    "a label of 1 MB": (payload([alert(pod="x" * 1_000_000)]), "/alerts/0/labels/pod"),
    "no labels": (payload([alert() | {"labels": {}}]), "/alerts/0/labels"),
    "a NUL": (payload([alert(pod="a\x00b")]), "/alerts/0/labels/pod"),
    "no startsAt": (payload([{"status": "firing", "labels": {"a": "b"}}]), "/alerts/0/startsAt"),
    "a startsAt without a zone": (payload([alert(starts_at="2026-01-01T00:00:00")]), "/alerts/0/startsAt"),
    "the zero startsAt": (payload([alert(starts_at="0001-01-01T00:00:00Z")]), "/alerts/0/startsAt"),
    "an unknown status": (payload([alert(status="flapping")]), "/alerts/0/status"),
    "bytes that are no UTF-8": (b'{"alerts":[{"labels":{"a":"\xff"}}]}', "/alerts/0"),
    "deep nesting": (b'{"alerts":' + b"[" * 100_000, ""),
}


@pytest.mark.parametrize(("body", "pointer"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_it_answers_a_bad_body_with_a_problem_and_stores_the_ledger_row_only(console, body, pointer):
    response = console.post(body)

    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem | {"detail": "", "errors": []} == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "",
        "instance": "/api/v1/webhooks/alertmanager",
        "errors": [],
    }
    assert problem["detail"]
    assert problem["errors"][0]["pointer"] == pointer
    assert_only_ledger(400)


def assert_only_ledger(status: int) -> None:
    assert Delivery.objects.get().http_status == status
    assert Delivery.objects.get().error
    assert not Alert.objects.exists()
    assert not DeadLetter.objects.exists()
    assert totals()["unaccounted"] == 0


def test_it_refuses_a_body_over_the_limit(console, settings):
    settings.MAX_BODY_BYTES = 2000

    response = console.post(payload([alert(annotations={"summary": "x" * 3000})]))

    assert response.status_code == 413
    assert "MAX_BODY_BYTES" in response.json()["detail"]
    assert_only_ledger(413)


def test_it_refuses_another_content_type(console):
    assert console.post(payload([alert()]), content_type="text/plain").status_code == 415
    assert_only_ledger(415)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic !!!", "Basic d3Jvbmc6d3Jvbmc=", "Digest x"])
def test_it_refuses_a_missing_or_wrong_token(console, header):
    response = console.post(payload([alert()]), HTTP_AUTHORIZATION=header)

    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert response["Content-Type"] == "application/problem+json"
    assert_only_ledger(401)


def test_it_refuses_a_token_of_another_kind(console):
    _, token = create_receiver(name="events", kind="kubernetes-event")

    assert console.post(payload([alert()]), token=token).status_code == 403
    assert_only_ledger(403)


def test_it_refuses_a_disabled_receiver(console):
    Receiver.objects.update(enabled=False)

    assert console.post(payload([alert()])).status_code == 401


def test_one_bad_alert_among_twenty_is_set_aside(console, set_policy):
    set_policy(threshold=100)
    alerts = [alert(namespace="demo") for _ in range(20)]
    alerts[7] = alerts[7] | {"labels": ONE_BAD_LABEL}

    response = console.post(payload(alerts))

    assert response.status_code == 202
    assert response.json()["summary"] == {"held": 19, "rejected": 1}
    assert response.json()["results"][7]["error"]["pointer"] == "/alerts/7/labels"
    letter = DeadLetter.objects.get()
    assert (letter.index, letter.pointer) == (7, "/alerts/7/labels")
    assert '"pod": 7' in letter.raw
    assert Alert.objects.count() == 19
    assert totals() == totals() | {"received": 20, "answered": 20, "rejected": 1, "recorded": 19, "unaccounted": 0}


def test_a_webhook_costs_two_queries(console, set_policy):
    """One look-up and one statement that writes everything; the store's one round trip is in test_detector."""
    set_policy(threshold=1000)
    console.post(payload([alert(namespace="demo")]))

    with CaptureQueriesContext(
        connection,
    ) as queries:
        console.post(payload([alert(namespace="demo") for _ in range(50)]))

    assert len(queries) == 2, [query["sql"][:80] for query in queries]
