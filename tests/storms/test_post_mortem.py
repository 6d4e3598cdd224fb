"""What a post-mortem says, in all its forms; and a storm's alerts as CSV."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from markdown_it import MarkdownIt

from storms import alerts_csv
from storms.models import Storm
from storms.post_mortem import post_mortem
from storms.post_mortem_text import markdown
from storms.services.label_baseline import measure_label_baseline
from tests.factories import (
    NOW,
    make_admin,
    make_alert,
    make_closed_storm,
    make_event,
    make_request,
    make_storm,
    make_user,
)

pytestmark = pytest.mark.django_db
FILES = ("post-mortem/", "post-mortem.md", "post-mortem.json", "alerts.csv")
HTML = MarkdownIt("commonmark").enable("table")


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


def told_storm() -> Storm:
    """Nine minutes of three alerts, acknowledged and noted, with a resource."""
    storm = make_closed_storm(
        group_labels={"namespace": "payments"},
        acknowledged_at=NOW + timedelta(seconds=90),
        acknowledged_by="ada",
        close_comment="node 7 was replaced",
        alert_count=3,
        alert_names=[{"name": "HighLatency", "count": 3}],
        severity_counts={"critical": 3},
        places=["namespace payments"],
    )
    for number in range(3):
        at = NOW + timedelta(seconds=number)
        labels = {"alertname": "HighLatency", "namespace": "payments", "pod": f"api-{number}", "node": "node-7"}
        gone = {"status": "resolved", "ends_at": at + timedelta(minutes=5), "last_seen_at": at + timedelta(minutes=5)}
        alert = make_alert(storm=storm, labels=labels, received_at=at, decided_at=NOW, **gone)
    Storm.objects.filter(id=storm.id).update(opened_by=alert.id)
    make_event(storm, message="Opened: 10 of 10 alerts in 60 s")
    make_event(storm, kind="note", at=NOW + timedelta(seconds=60), message="the disk of node 7", actor="ada")
    make_event(storm, kind="phase_changed", at=NOW + timedelta(seconds=70), message="Phase: Completed")
    make_request(storm=storm, phase="Completed")
    return Storm.objects.select_related("remediation_request").get(id=storm.id)


def test_the_document_has_the_whole_story() -> None:
    with time_machine.travel(NOW + timedelta(hours=1), tick=False):
        for _ in range(30):
            make_alert(received_at=NOW, labels={"alertname": "A", "namespace": "x", "node": "node-1"})
        storm = told_storm()
        measure_label_baseline(now=timezone.now())
        document = post_mortem(storm, timezone.now())
    assert document["generated_at"] == "2026-11-16T11:30:00+00:00"
    assert document["storm"]["lasted_seconds"] == 540
    assert document["storm"]["acknowledged_after_seconds"] == 90
    impact = document["impact"]
    assert (impact["alerts"], impact["firing"], impact["resolved"], impact["resources"]) == (3, 0, 3, 3)
    assert (impact["peak_firing"], impact["peak_at"]) == (3, "2026-11-16T10:30:04+00:00")
    assert [event["kind"] for event in document["timeline"]] == ["opened", "note", "phase_changed"]
    assert [(note["message"], note["actor"]) for note in document["notes"]] == [("the disk of node 7", "ada")]
    assert {(one["label"], one["value"]) for one in document["suspects"]} >= {("node", "node-7")}
    assert [(one["kind"], one["name"]) for one in document["resources"]] == [("Pod", f"api-{n}") for n in range(3)]
    assert document["remediation_request"]["phase"] == "Completed"
    assert [event["message"] for event in document["remediation_request"]["history"]] == ["Phase: Completed"]
    assert sum(row["new"] for row in document["course"]) == 3
    assert json.loads(json.dumps(document)) == document


def test_the_markdown_tells_it_in_sections() -> None:
    text = markdown(post_mortem(told_storm(), NOW + timedelta(hours=1)))
    assert text.startswith("# Post-mortem: storm of namespace=payments\n")
    html = HTML.render(text)
    for words in (
        "A storm of 3 alerts in namespace=payments opened at 2026-11-16 10:30:00",
        "lasted 9 min 0 s",
        "(node 7 was replaced)",
        "At most 3 alerts fired at once",
        "ada acknowledged it after 1 min 30 s.",
        "the disk of node 7 (ada)",
        "Pod/api-0",
        "[ ] <em>What is to be done",
    ):
        assert words in html, words
    sections = [line for line in text.splitlines() if line.startswith("## ")]
    assert sections == [
        f"## {title}"
        for title in (
            "Summary", "Impact", "Alerts by name", "What stood out", "Affected resources", "Why it opened", "Timeline",
            "Alerts over time", "RemediationRequest", "Notes", "Root cause", "Action items",
        )
    ]  # fmt: skip


def test_resources_of_one_name_in_many_namespaces_and_of_many_kinds_are_many() -> None:
    storm = make_storm()
    for namespace in ("a", "b", "c"):
        for _ in range(2):
            make_alert(storm=storm, namespace=namespace, resource_name="web-0")
    make_alert(storm=storm, namespace="c", resource_kind="Node", resource_name="web-0")
    document = post_mortem(storm, NOW)
    assert document["impact"]["resources"] == len(document["resources"]) == 4


def test_an_open_storm_that_nobody_has_can_be_told_too() -> None:
    text = markdown(post_mortem(make_storm(), NOW))
    assert "is still open." in text
    assert "Nobody acknowledged it." in text
    assert "None was made." in text


EVIL = "<img src=x onerror=alert(1)> [click](javascript:alert(1)) | `x` \n# heading"


def evil_storm() -> Storm:
    storm = make_closed_storm(
        group_labels={"namespace": EVIL}, policy_name=EVIL[:100], close_comment=EVIL, acknowledged_at=NOW,
        acknowledged_by=EVIL, alert_names=[{"name": EVIL, "count": 1}], places=[EVIL],
    )  # fmt: skip
    make_alert(storm=storm, labels={"alertname": EVIL, "pod": EVIL}, namespace=EVIL)
    make_event(storm, kind="note", message=EVIL, actor=EVIL)
    make_request(storm=storm, phase_message=EVIL, last_error=EVIL)
    return storm


def test_hostile_text_is_text_in_every_form(admin: Client) -> None:
    storm = evil_storm()
    page, text = (admin.get(f"/storms/{storm.id}/{name}").content.decode() for name in FILES[:2])
    assert "<img src=x" not in page
    html = HTML.render(text)
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert "<h1>heading" not in html
    assert html.count("<h1>") == 1


@pytest.mark.parametrize("name", FILES)
def test_who_may_not_see_alerts_gets_none_of_it(client: Client, name: str) -> None:
    storm = make_storm()
    client.force_login(make_user("eve", "storms.view_storm"))
    assert client.get(f"/storms/{storm.id}/{name}").status_code == 403
    assert "Post-mortem" not in client.get(f"/storms/{storm.id}/").content.decode()


def test_the_page_and_its_files(admin: Client, django_assert_max_num_queries: Any) -> None:
    storm = told_storm()
    page = f"/storms/{storm.id}/"
    assert f"{page}post-mortem/" in admin.get(page).content.decode()
    with django_assert_max_num_queries(16):
        seen = admin.get(f"{page}post-mortem/").content.decode()
    for words in ("opened at 2026-11-16 10:30:00", "the disk of node 7", "Pod/api-0", f"{page}post-mortem.md"):
        assert words in seen
    text = admin.get(f"{page}post-mortem.md")
    assert text["Content-Type"] == "text/markdown; charset=utf-8"
    assert text["Content-Disposition"] == f'attachment; filename="storm-{storm.id}-post-mortem.md"'
    data = admin.get(f"{page}post-mortem.json")
    assert json.loads(data.content)["storm"]["id"] == str(storm.id)


def test_machines_get_it_from_the_api(admin: Client, client: Client) -> None:
    storm = told_storm()
    answer = admin.get(f"/api/v1/storms/{storm.id}/post-mortem/")
    assert answer.json()["impact"]["alerts"] == 3
    client.force_login(make_user("eve", "storms.view_storm"))
    assert client.get(f"/api/v1/storms/{storm.id}/post-mortem/").status_code == 403


# --- CSV


def rows_of(answer: Any) -> list[dict[str, str]]:
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_has_every_alert_once(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts_csv, "PIECE", 3)
    storm = make_storm()
    made = [make_alert(storm=storm, received_at=NOW + timedelta(seconds=n // 4)) for n in range(10)]
    rows = rows_of(admin.get(f"/storms/{storm.id}/alerts.csv"))
    assert sorted(row["id"] for row in rows) == sorted(str(alert.id) for alert in made)
    assert rows[-1]["received_at"] == "2026-11-16T10:30:00+00:00"
    assert json.loads(rows[0]["labels"])["namespace"] == "payments"
    assert rows[0]["ends_at"] == ""


def test_the_csv_of_a_search_has_what_was_found(admin: Client) -> None:
    storm = make_storm()
    make_alert(storm=storm, status="resolved", resource_name="over")
    make_alert(storm=storm, resource_name="fires")
    rows = rows_of(admin.get(f"/storms/{storm.id}/alerts.csv?status=firing"))
    assert [row["resource_name"] for row in rows] == ["fires"]


def test_no_cell_is_a_formula(admin: Client) -> None:
    storm = make_storm()
    make_alert(storm=storm, labels={"alertname": '=HYPERLINK("http://evil")', "pod": "@x"}, namespace="+1")
    [row] = rows_of(admin.get(f"/storms/{storm.id}/alerts.csv"))
    assert row["alertname"] == '\'=HYPERLINK("http://evil")'
    assert (row["resource_name"], row["namespace"]) == ("'@x", "'+1")


def test_a_storm_without_an_alert_is_a_line_of_names(admin: Client) -> None:
    answer = admin.get(f"/storms/{make_storm().id}/alerts.csv")
    assert b"".join(answer.streaming_content).decode().startswith("received_at,starts_at,")
