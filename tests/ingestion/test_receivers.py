"""What a receiver is: its kind, its labels, its namespaces, and that an edit of them holds from the next webhook on."""

from typing import Any

import pytest

from ingestion.ledger import totals
from ingestion.models import DeadLetter, Delivery, Receiver
from ingestion.services import create_receiver, edit_receiver
from storms.models import Alert
from tests.harness.http import alert, payload, resolved

EVENTS = "/api/v1/webhooks/kubernetes-event"
GENERIC = "/api/v1/webhooks/generic"
SCHEDULER_EVENT = {
    "metadata": {"name": "a.1", "namespace": "batch", "creationTimestamp": "2026-11-16T10:31:44Z"},
    "involvedObject": {"kind": "Pod", "namespace": "batch", "name": "worker-0", "uid": "9d8c"},
    "reason": "FailedScheduling",
    "message": "0/3 nodes are available",
    "source": {},
    "firstTimestamp": None,
    "lastTimestamp": None,
    "type": "Warning",
    "eventTime": "2026-11-16T10:31:44.804152Z",
    "series": {"count": 4, "lastObservedTime": "2026-11-16T10:36:44.911873Z"},
    "reportingComponent": "default-scheduler",
}


def receiver(**fields: Any) -> Receiver:
    found = Receiver.objects.get(name="test")
    edit_receiver(receiver=found, **fields)
    return found


def outcomes(response: Any) -> list[str]:
    return [result["outcome"] for result in response.json()["results"]]


def assert_balanced() -> None:
    assert totals()["unaccounted"] == 0


@pytest.fixture
def events(console: Any) -> str:
    return create_receiver(name="events", kind="kubernetes-event")[1]


@pytest.fixture
def generic(console: Any) -> str:
    return create_receiver(name="generic", kind="generic")[1]


def test_it_takes_a_scheduler_event_with_null_times(console, events):
    first = console.post(SCHEDULER_EVENT, path=EVENTS, token=events)
    again = console.post([{"verb": "UPDATED", "event": SCHEDULER_EVENT}], path=EVENTS + "/", token=events)

    assert (outcomes(first), outcomes(again)) == (["held"], ["duplicate"])
    row = Alert.objects.get()
    assert (row.alertname, row.namespace, row.resource_kind, row.resource_name) == (
        "FailedScheduling",
        "batch",
        "Pod",
        "worker-0",
    )
    assert (row.source, row.severity, row.occurrences) == ("kubernetes-event", "warning", 2)
    assert row.starts_at.microsecond == 804152
    assert_balanced()


def test_it_takes_an_alert_by_its_id_and_its_resolution(console, generic):
    body = {"id": "INC-17", "name": "CheckoutSlow", "namespace": "shop"}

    answers = [
        console.post(body, path=GENERIC, token=generic),
        console.post(body, path=GENERIC, token=generic),
        console.post(body | {"status": "resolved"}, path=GENERIC, token=generic),
    ]

    assert [outcomes(answer) for answer in answers] == [["held"], ["duplicate"], ["resolved"]]
    assert Alert.objects.get().disposition == "resolved_while_held"
    assert_balanced()


def test_two_ids_are_two_episodes_of_one_group(console, generic):
    body = [{"id": number, "name": "CheckoutSlow", "namespace": "shop"} for number in range(15)]

    response = console.post(body, path=GENERIC, token=generic)

    assert response.status_code == 201
    assert response.json()["summary"] == {"held": 9, "storm_opened": 1, "aggregated": 5}
    assert_balanced()


@pytest.mark.parametrize(
    ("media_type", "headers", "data"),
    [
        (
            "application/cloudevents+json; charset=utf-8",
            {},
            {"specversion": "1.0", "id": "1", "source": "/check", "type": "down", "data": {"namespace": "shop"}},
        ),
        (
            "application/cloudevents-batch+json",
            {},
            [{"specversion": "1.0", "id": "1", "source": "/check", "type": "down", "data": {"namespace": "shop"}}],
        ),
        (
            "application/json",
            {"HTTP_CE_SPECVERSION": "1.0", "HTTP_CE_ID": "1", "HTTP_CE_SOURCE": "/check", "HTTP_CE_TYPE": "down"},
            {"namespace": "shop"},
        ),
    ],
    ids=["structured", "batch", "binary"],
)
def test_it_takes_cloud_events_in_each_mode(console, generic, media_type, headers, data):
    send = [console.post(data, path=GENERIC, token=generic, content_type=media_type, **headers) for _ in range(2)]

    assert [outcomes(response) for response in send] == [["held"], ["duplicate"]]
    row = Alert.objects.get()
    assert (row.alertname, row.namespace, row.annotations["cloudevent_source"]) == ("down", "shop", "/check")


def test_cloud_events_are_for_the_generic_webhook(console, events):
    response = console.post({}, path=EVENTS, token=events, content_type="application/cloudevents+json")

    assert response.status_code == 415


@pytest.mark.parametrize("path", [EVENTS, GENERIC])
def test_a_kind_s_webhook_refuses_the_token_of_another(console, path):
    assert console.post({}, path=path).status_code == 403


def test_static_labels_are_added_and_part_of_the_identity(console):
    firing = alert(namespace="demo", cluster="mine")
    console.post(payload([firing]))

    receiver(static_labels={"cluster": "prod-eu"})
    response = console.post(payload([firing]))

    assert outcomes(response) == ["held"]
    assert sorted(Alert.objects.values_list("labels__cluster", flat=True)) == ["mine", "prod-eu"]
    assert outcomes(console.post(payload([resolved(firing)]))) == ["resolved"]
    assert Alert.objects.get(labels__cluster="prod-eu").status == "resolved"
    assert_balanced()


def test_an_alert_of_another_namespace_is_set_aside(console):
    receiver(allowed_namespaces=["payments"])

    response = console.post(payload([alert(namespace="payments"), alert(namespace="kube-system")]))

    assert response.status_code == 202
    assert response.json()["summary"] == {"held": 1, "rejected": 1}
    letter = DeadLetter.objects.get()
    assert (letter.index, letter.pointer) == (1, "/alerts/1/labels/namespace")
    assert letter.error == "namespace 'kube-system': this receiver may send only for payments"
    assert_balanced()


def test_a_batch_of_other_namespaces_alone_is_kept_as_dead_letters(console):
    """Not a 400: the alerts are good, and can be taken in once the list is longer."""
    receiver(allowed_namespaces=["payments"])
    no_namespace = alert()
    del no_namespace["labels"]["namespace"]

    response = console.post(payload([alert(namespace="demo"), no_namespace]))

    assert response.status_code == 202
    assert outcomes(response) == ["rejected", "rejected"]
    assert DeadLetter.objects.count() == 2
    assert not Alert.objects.exists()
    assert Delivery.objects.get().outcomes == {"rejected": 2}
    assert_balanced()


def test_a_longer_list_of_namespaces_holds_from_the_next_webhook_on(console):
    receiver(allowed_namespaces=["payments"])
    assert outcomes(console.post(payload([alert(namespace="demo")]))) == ["rejected"]

    receiver(allowed_namespaces=["payments", "demo"])

    assert outcomes(console.post(payload([alert(namespace="demo")]))) == ["held"]


def test_static_labels_give_a_namespace_to_those_without(console):
    receiver(allowed_namespaces=["edge"], static_labels={"namespace": "edge"})

    assert outcomes(console.post(payload([alert(namespace="whatever")]))) == ["held"]
    assert Alert.objects.get().namespace == "edge"
