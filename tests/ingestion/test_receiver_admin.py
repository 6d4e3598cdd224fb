"""The receiver's page in the admin: its labels, its namespaces, its heartbeat, and how to send to it."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from ingestion.models import Receiver, ReceiverKind
from tests.factories import NOW, make_admin, make_delivery, make_receiver

pytestmark = pytest.mark.django_db

OPTIONS = {
    "static_labels": '{"cluster": "prod-eu"}',
    "allowed_namespaces": "payments, shop",
    "heartbeat_minutes": "15",
}


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


def add(admin: Client, **fields: Any) -> Any:
    form = {"name": "edge", "kind": "generic", "enabled": "on"} | fields
    return admin.post(reverse("admin:ingestion_receiver_add"), form)


def change(admin: Client, receiver: Receiver, **fields: Any) -> Any:
    form = {"name": receiver.name, "enabled": "on"} | fields
    return admin.post(reverse("admin:ingestion_receiver_change", args=[receiver.pk]), form)


def assert_has_options(receiver: Receiver) -> None:
    receiver.refresh_from_db()
    assert receiver.static_labels == {"cluster": "prod-eu"}
    assert receiver.allowed_namespaces == ["payments", "shop"]
    assert receiver.heartbeat_minutes == 15


def test_a_receiver_is_made_with_its_options(admin):
    assert add(admin, **OPTIONS).status_code == 200
    assert_has_options(Receiver.objects.get())


def test_a_receiver_s_options_are_edited_and_emptied(admin):
    receiver = make_receiver()
    assert change(admin, receiver, **OPTIONS).status_code == 302
    assert_has_options(receiver)

    assert change(admin, receiver, static_labels="", allowed_namespaces="", heartbeat_minutes="").status_code == 302
    receiver.refresh_from_db()
    assert (receiver.static_labels, receiver.allowed_namespaces, receiver.heartbeat_minutes) == ({}, [], None)


ASKED = {
    "alertmanager_urls": "http://alertmanager-0.example:9093, http://alertmanager-1.example:9093",
    "alertmanager_receiver": "stormconsole",
}


def test_a_receiver_names_its_alertmanagers_and_no_more(admin):
    receiver = make_receiver()
    assert change(admin, receiver, **ASKED).status_code == 302
    receiver.refresh_from_db()
    assert receiver.alertmanager_urls == ["http://alertmanager-0.example:9093", "http://alertmanager-1.example:9093"]

    assert change(admin, receiver, **dict.fromkeys(ASKED, "")).status_code == 302
    receiver.refresh_from_db()
    assert (receiver.alertmanager_urls, receiver.alertmanager_receiver) == ([], "")


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("alertmanager_receiver", "", "What is this console called there?"),
        ("alertmanager_urls", "", "Where is the Alertmanager that has this receiver?"),
        ("alertmanager_urls", "ftp://alertmanager.example", "is no http:// or https:// address"),
    ],
)
def test_an_alertmanager_that_cannot_be_asked_is_refused_with_the_reason(admin, field, value, error):
    response = change(admin, make_receiver(), **ASKED | {field: value})

    assert error in response.content.decode()
    assert Receiver.objects.get().alertmanager_urls == []


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("static_labels", '["cluster"]', "an object is expected"),
        ("static_labels", '{"a-b": "c"}', "is no label name"),
        ("static_labels", '{"a": 1}', "a text of 1 to 256 characters"),
        ("static_labels", "{", "Enter a valid JSON"),
        ("heartbeat_minutes", "0", "greater than or equal to 1"),
        ("heartbeat_minutes", "20000", "less than or equal to 10080"),
    ],
)
def test_bad_options_are_refused_with_the_reason(admin, field, value, error):
    response = add(admin, **{field: value})

    assert error in response.content.decode()
    assert not Receiver.objects.exists()


def test_the_list_says_when_a_receiver_was_heard_last(admin):
    receiver = make_receiver(heartbeat_minutes=15)
    make_delivery(receiver=receiver, received_at=NOW - timedelta(hours=1))
    make_delivery(receiver=receiver, received_at=NOW, http_status=400)

    page = admin.get(reverse("admin:ingestion_receiver_changelist")).content.decode()

    assert "15 min" in page
    assert "2026-11-16 09:30" in page


@pytest.mark.parametrize("kind", ReceiverKind.values)
def test_a_new_receiver_s_page_shows_how_to_send(admin, kind):
    page = add(admin, kind=kind).content.decode()

    assert f"http://testserver/api/v1/webhooks/{kind}" in page
    assert "scr_" in page
