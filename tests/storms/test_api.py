"""The read API: who may, what comes back, how pages follow each other, what is refused."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
import yaml
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client

from storms.api_tokens import create_api_token
from storms.models import ApiToken, StormPolicy
from tests.factories import (
    NOW,
    make_admin,
    make_alert,
    make_closed_storm,
    make_dead_letter,
    make_delivery,
    make_held_alert,
    make_policy,
    make_receiver,
    make_request,
    make_storm,
    make_user,
)

pytestmark = pytest.mark.django_db

LISTS = ["storms", "alerts", "remediation-requests", "policies", "deliveries", "dead-letters"]
API = "/api/v1/"


class Api:
    """The API with one user's token."""

    def __init__(self, token: str) -> None:
        self.client = Client(headers={"Authorization": f"Bearer {token}"})

    def get(self, path: str, *, expect: int = 200, **parameters: Any) -> Any:
        response = self.client.get(path if path.startswith(("http", "/")) else API + path, parameters)
        assert response.status_code == expect, response.content
        return response.json()

    def ids(self, path: str, **parameters: Any) -> list[str]:
        return [str(row["id"]) for row in self.get(path, **parameters)["results"]]

    def send(self, method: str, path: str, status: int, **body: Any) -> Any:
        request = getattr(self.client, method)
        response = request(API + path, body, content_type="application/json")
        assert response.status_code == status, response.content
        return response.json() if response.content else None


@pytest.fixture
def api() -> Api:
    return Api(create_api_token(user=make_admin())[1])


def expect_problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["instance"]
    return problem


# --- who may


@pytest.mark.parametrize("path", [*LISTS, "status"])
def test_without_credentials_it_answers_401_and_names_the_scheme(path: str, client: Client) -> None:
    response = client.get(f"{API}{path}/")
    expect_problem(response, 401)
    assert response["WWW-Authenticate"] == 'Bearer realm="stormconsole"'


@pytest.mark.parametrize("header", ["Bearer scapi_wrong", "Bearer", "Bearer a b", "Bearer \xff"])
def test_a_wrong_token_answers_401(header: str, client: Client) -> None:
    response = client.get(f"{API}storms/", headers={"Authorization": header})
    assert expect_problem(response, 401)["detail"] == "The API token is unknown or expired, or its user is not active."


def test_the_token_of_an_inactive_user_answers_401() -> None:
    _, token = create_api_token(user=make_user(is_active=False))
    expect_problem(Api(token).client.get(f"{API}storms/"), 401)


@pytest.mark.parametrize("path", [*LISTS, "status"])
def test_without_the_view_permission_it_answers_403(path: str) -> None:
    _, token = create_api_token(user=make_user())
    expect_problem(Api(token).client.get(f"{API}{path}/"), 403)


def test_the_view_permission_opens_its_list_and_nothing_else() -> None:
    _, token = create_api_token(user=make_user("reader", "storms.view_storm", "storms.view_stormpolicy"))
    api = Api(token)
    assert api.get("storms/")["results"] == []
    expect_problem(api.client.get(f"{API}alerts/"), 403)
    expect_problem(api.client.post(f"{API}policies/", {"name": "mine"}, content_type="application/json"), 403)
    expect_problem(api.client.delete(f"{API}policies/{StormPolicy.objects.get().pk}/"), 403)


def test_a_session_opens_it_too(client: Client) -> None:
    client.force_login(make_admin())
    assert client.get(f"{API}storms/").status_code == 200


def test_a_session_writes_only_with_its_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_admin())
    expect_problem(client.post(f"{API}policies/", {"name": "mine"}, content_type="application/json"), 403)


@pytest.mark.parametrize("path", [path for path in LISTS if path != "policies"])
def test_what_the_system_writes_cannot_be_written(api: Api, path: str) -> None:
    for method in ("post", "put", "patch", "delete"):
        expect_problem(getattr(api.client, method)(f"{API}{path}/"), 405)


def test_a_token_remembers_roughly_when_it_was_used() -> None:
    row, token = create_api_token(user=make_admin())
    Api(token).get("storms/")
    first = ApiToken.objects.get(pk=row.pk).last_used_at
    assert first is not None
    Api(token).get("storms/")
    assert ApiToken.objects.get(pk=row.pk).last_used_at == first


def test_only_the_hash_of_a_token_is_stored() -> None:
    row, token = create_api_token(user=make_admin())
    assert token.startswith("scapi_")
    assert token not in str(ApiToken.objects.filter(pk=row.pk).values().get())


def test_create_api_token_prints_the_token_alone(capsys: pytest.CaptureFixture[str]) -> None:
    make_admin("alice")
    call_command("create_api_token", "alice")
    printed = capsys.readouterr().out
    assert re.fullmatch(r"scapi_[\w-]{43}\n", printed)
    assert Api(printed.strip()).get("storms/")["results"] == []


def test_create_api_token_refuses_unknown_and_inactive_users() -> None:
    make_user("gone", is_active=False)
    with pytest.raises(CommandError, match="no user 'bob'"):
        call_command("create_api_token", "bob")
    with pytest.raises(CommandError, match="not active"):
        call_command("create_api_token", "gone")


# --- what comes back


def test_a_storm(api: Api) -> None:
    storm = make_storm(group_labels={"namespace": "payments"})
    request = make_request(storm=storm, phase="Processing")
    storm.events.create(kind="opened", at=NOW, message="Opened")
    assert api.get(f"storms/{storm.id}/") == {
        "id": str(storm.id),
        "group": "namespace=payments",
        "group_labels": {"namespace": "payments"},
        "group_key": storm.group_key,
        "state": "open",
        "severity": "critical",
        "severity_counts": {"critical": 10},
        "alert_count": 10,
        "firing_count": 10,
        "resolved_count": 0,
        "alert_names": [{"name": "HighLatency", "count": 10}],
        "policy": None,
        "policy_name": "default",
        "policy_version": 1,
        "threshold": 10,
        "window_seconds": 60,
        "quiet_seconds": 300,
        "max_duration_seconds": 14400,
        "opened_at": "2026-11-16T10:30:00Z",
        "opened_by": str(storm.opened_by),
        "window_from": None,
        "last_alert_at": "2026-11-16T10:30:00Z",
        "closed_at": None,
        "close_reason": "",
        "close_comment": "",
        "previous": None,
        "merged_into": None,
        "reopened_at": None,
        "acknowledged_at": None,
        "acknowledged_by": "",
        "assignee": "",
        "refreshed_at": None,
        "remediation_request": {
            "id": str(request.id),
            "namespace": "payments",
            "name": f"storm-{storm.id}",
            "sync_state": "applied",
            "phase": "Processing",
            "last_error": "",
            "superseded_by": None,
            "cluster": "local",
        },
        "page": f"/storms/{storm.id}/",
        "events": [{"at": "2026-11-16T10:30:00Z", "kind": "opened", "message": "Opened", "detail": {}, "actor": ""}],
    }


def test_a_storm_without_a_resource_yet(api: Api) -> None:
    assert api.get(f"storms/{make_storm().id}/")["remediation_request"] is None


def test_a_storm_whose_alerts_still_fire_is_settled(api: Api) -> None:
    storm = make_closed_storm(firing_count=3)
    assert api.get(f"storms/{storm.id}/")["state"] == "settled"


def test_a_remediation_request_says_which_cluster(api: Api) -> None:
    not_yet = make_request(cluster="", sync_state="pending", applied_version=0)
    there = make_request(cluster="https://10.0.0.1:6443")
    assert api.get(f"remediation-requests/{not_yet.id}/")["cluster"] == "local"
    assert api.get(f"remediation-requests/{there.id}/")["cluster"] == "https://10.0.0.1:6443"


def test_the_manifest_as_yaml(api: Api) -> None:
    request = make_request()
    response = api.client.get(f"{API}remediation-requests/{request.id}/manifest.yaml")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/yaml; charset=utf-8"
    assert response["Content-Disposition"] == f'attachment; filename="{request.name}.yaml"'
    assert yaml.safe_load(response.content) == request.manifest
    browser = api.client.get(
        f"{API}remediation-requests/{request.id}/manifest.yaml",
        headers={"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    )
    assert browser["Content-Type"] == "application/yaml; charset=utf-8"


def test_no_manifest_before_the_first_apply(api: Api) -> None:
    request = make_request(manifest=None, sync_state="pending", applied_at=None)
    expect_problem(api.client.get(f"{API}remediation-requests/{request.id}/manifest.yaml"), 404)


def test_a_delivery_and_its_dead_letter(api: Api) -> None:
    delivery = make_delivery(receiver=make_receiver(name="prod"), received=2, outcomes={"held": 1, "rejected": 1})
    letter = make_dead_letter(delivery=delivery)
    found = api.get("deliveries/", receiver="prod")["results"]
    assert [(row["receiver"], row["outcomes"], row["unaccounted"]) for row in found] == [
        ("prod", {"held": 1, "rejected": 1}, 0)
    ]
    assert api.ids("dead-letters/", delivery=str(delivery.id)) == [str(letter.id)]


def test_the_status_in_numbers(api: Api) -> None:
    make_storm()
    make_closed_storm(firing_count=2)
    make_closed_storm()
    make_held_alert()
    make_request(sync_state="failed", last_error="503")
    status = api.get("status/")
    assert {name: status[name] for name in ("cluster", "storms_open", "storms_settled", "held", "failed_syncs")} == {
        "cluster": "local",
        "storms_open": 1,
        "storms_settled": 1,
        "held": 1,
        "failed_syncs": 1,
    }
    assert {"version", "deferred", "unaccounted", "ledger"} <= set(status)


def test_an_unknown_storm_is_404(api: Api) -> None:
    expect_problem(api.client.get(f"{API}storms/00000000-0000-0000-0000-000000000000/"), 404)
    expect_problem(api.client.get(f"{API}storms/not-a-uuid/"), 404)


# --- filters


def test_storms_by_state(api: Api) -> None:
    opened, settled, closed = make_storm(), make_closed_storm(firing_count=1), make_closed_storm()
    assert api.ids("storms/", state="open") == [str(opened.id)]
    assert api.ids("storms/", state="settled") == [str(settled.id)]
    assert api.ids("storms/", state="closed") == [str(closed.id)]
    assert set(api.ids("storms/", state=["open", "settled"])) == {str(opened.id), str(settled.id)}


def test_storms_by_the_group_s_labels(api: Api) -> None:
    wanted = make_storm(group_labels={"namespace": "payments", "cluster": "a"})
    make_storm(group_labels={"namespace": "payments", "cluster": "b"})
    assert api.ids("storms/", label=["namespace=payments", "cluster=a"]) == [str(wanted.id)]
    assert len(api.ids("storms/", namespace="payments")) == 2
    assert len(api.ids("storms/", label="team=")) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("severity", "warning"),
        ("status", "resolved"),
        ("outcome", "held"),
        ("disposition", "held"),
        ("namespace", "search"),
        ("alertname", "DiskFull"),
        ("receiver", "staging"),
        ("label", "pod=db-0"),
        ("label", "path=a=b"),
        ("received_after", (NOW + timedelta(hours=1)).isoformat()),
        ("starts_after", (NOW + timedelta(minutes=50)).isoformat()),
    ],
)
def test_alerts_by(api: Api, name: str, value: str) -> None:
    wanted = make_held_alert(
        labels={"alertname": "DiskFull", "pod": "db-0", "path": "a=b"},
        namespace="search",
        severity="warning",
        status="resolved",
        receiver="staging",
        received_at=NOW + timedelta(hours=1),
    )
    make_alert()
    assert api.ids("alerts/", **{name: value}) == [str(wanted.id)]


def test_alerts_of_a_storm_and_before_a_time(api: Api) -> None:
    storm = make_storm()
    member, other = make_alert(storm=storm), make_alert(received_at=NOW + timedelta(seconds=1))
    assert api.ids("alerts/", storm=str(storm.id)) == [str(member.id)]
    # "before" excludes its moment, "after" includes it: two ranges in a row share no row.
    assert api.ids("alerts/", received_before=other.received_at.isoformat()) == [str(member.id)]


def test_active_and_superseded_requests(api: Api) -> None:
    storm_request = make_request(storm=make_storm())
    absorbed = make_request(superseded_by=storm_request)
    assert api.ids("remediation-requests/", superseded="true") == [str(absorbed.id)]
    assert api.ids("remediation-requests/", superseded="false") == [str(storm_request.id)]
    assert api.ids("remediation-requests/", kind="storm", sync_state="applied") == [str(storm_request.id)]


def test_deliveries_by_outcome_and_status(api: Api) -> None:
    rejected = make_delivery(outcomes={"rejected": 3}, http_status=400)
    make_delivery()
    assert api.ids("deliveries/", outcome="rejected") == [str(rejected.id)]
    assert api.ids("deliveries/", http_status=400) == [str(rejected.id)]


@pytest.mark.parametrize(
    ("path", "parameters", "pointer"),
    [
        ("alerts/", {"severty": "critical"}, "/severty/0"),
        ("alerts/", {"severity": "urgent"}, "/severity/0"),
        ("alerts/", {"storm": "1"}, "/storm/0"),
        ("alerts/", {"received_after": "yesterday"}, "/received_after/0"),
        ("storms/", {"opened_before": "9999-12-31T23:59:59-08:00"}, "/opened_before/0"),
        ("alerts/", {"label": "namespace"}, "/label/0"),
        ("alerts/", {"namespace": "a\0b"}, "/namespace/0"),
        ("alerts/", {"ordering": "last_seen_at"}, "/ordering/0"),
        ("alerts/", {"cursor": "%%%"}, "/cursor/0"),
        ("alerts/", {"cursor": "Zj1yZWNlaXZlZF9hdCZ2PXgmaz15"}, "/cursor/0"),
        ("storms/", {"state": "ajar"}, "/state/0"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(api: Api, path: str, parameters: Any, pointer: str) -> None:
    problem = expect_problem(api.client.get(API + path, parameters), 400)
    assert [error["pointer"] for error in problem["errors"]] in ([pointer], [pointer.removesuffix("/0")])


# --- pages


def walk(api: Api, path: str, **parameters: Any) -> list[str]:
    """All ids, page after page."""
    page = api.get(path, **parameters)
    ids = [row["id"] for row in page["results"]]
    while page["next"]:
        page = api.get(page["next"])
        ids += [row["id"] for row in page["results"]]
    return ids


@pytest.mark.parametrize("ordering", ["-received_at", "received_at", "starts_at"])
def test_pages_hold_every_alert_once_although_they_share_a_timestamp(api: Api, ordering: str) -> None:
    expected = {str(make_alert(received_at=NOW + timedelta(seconds=n // 4)).id) for n in range(11)}
    ids = walk(api, "alerts/", page_size=3, ordering=ordering)
    assert len(ids) == 11
    assert set(ids) == expected


def test_pages_stay_right_while_alerts_arrive(api: Api) -> None:
    old = [str(make_alert(received_at=NOW + timedelta(seconds=n)).id) for n in range(6)]
    page = api.get("alerts/", page_size=3)
    make_alert(received_at=NOW + timedelta(hours=1))
    following = api.get(page["next"])
    assert [row["id"] for row in page["results"] + following["results"]] == old[::-1]


def test_pages_lead_back_too(api: Api) -> None:
    for n in range(7):
        make_alert(received_at=NOW + timedelta(seconds=n // 3))
    first = api.get("alerts/", page_size=3)
    assert first["previous"] is None
    second = api.get(first["next"])
    third = api.get(second["next"])
    assert third["next"] is None
    assert api.get(third["previous"])["results"] == second["results"]
    back = api.get(second["previous"])
    assert back["results"] == first["results"]
    assert back["previous"] is None
    assert api.get(back["next"])["results"] == second["results"]


OFFSET = "2026-11-16T10:00:00+17:54"
"""A time for ISO 8601 and Python; PostgreSQL reads no offset of 16 hours."""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("storms/", "opened_before"),
        ("alerts/", "received_after"),
        ("audit/", "at_before"),
        ("deliveries/", "received_after"),
    ],
)
def test_a_time_far_from_greenwich_is_a_time(api: Api, path: str, name: str) -> None:
    api.get(path, **{name: OFFSET})


@pytest.mark.parametrize("more", [{}, {"matchers": "a=b"}])
def test_so_is_one_in_a_cursor(api: Api, more: dict[str, str]) -> None:
    cursor = urlsafe_b64encode(urlencode({"f": "received_at", "v": OFFSET, "k": str(uuid4())}).encode()).decode()
    api.get("alerts/", cursor=cursor, **more)


def test_a_cursor_of_another_ordering_is_refused(api: Api) -> None:
    for _ in range(3):
        make_alert()
    page = api.get("alerts/", page_size=1)
    problem = api.get(page["next"].replace("page_size=1", "page_size=1&ordering=starts_at"), expect=400)
    assert problem["errors"][0]["detail"] == "The cursor belongs to another ordering."


def test_a_page_holds_at_most_500(api: Api) -> None:
    for _ in range(2):
        make_storm()
    assert len(api.get("storms/", page_size=100_000)["results"]) == 2
    assert len(api.get("storms/", page_size="0")["results"]) == 2


@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("storms/", lambda: make_request(storm=make_storm())),
        ("alerts/", lambda: make_request(alert=make_alert(storm=make_storm()))),
        ("remediation-requests/", make_request),
        ("deliveries/", lambda: make_delivery(receiver=make_receiver())),
        ("dead-letters/", lambda: make_dead_letter(receiver=make_receiver())),
    ],
)
def test_a_list_takes_one_query_however_long(
    api: Api, path: str, make: Callable[[], Any], django_assert_num_queries: Any
) -> None:
    for _ in range(4):
        make()
    api.get(path)
    with django_assert_num_queries(2):  # the token with its user, the page
        assert len(api.get(path)["results"]) == 4


# --- policies


def test_a_policy_is_made_changed_and_deleted(api: Api) -> None:
    made = api.send("post", "policies/", 201, name="checkout", matchers='team="checkout"', group_by=["service"])
    assert made["version"] == 1
    assert made["group_by"] == ["service"]
    changed = api.send("patch", f"policies/{made['id']}/", 200, threshold=25)
    assert (changed["version"], changed["threshold"], changed["matchers"]) == (2, 25, 'team="checkout"')
    api.send("delete", f"policies/{made['id']}/", 204)
    assert StormPolicy.objects.filter(name="checkout").count() == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("matchers", "not a matcher"),
        ("matchers", 'a=~"("'),
        ("group_by", ["not-a-label"]),
        ("group_by", ["a", "a"]),
        ("group_by", [f"l{n}" for n in range(11)]),
        ("threshold", 0),
        ("threshold", 100_001),
        ("window_seconds", 0),
        ("hold_seconds", -1),
        ("hold_seconds", 3_601),
        ("quiet_seconds", 0),
        ("priority", 1_001),
        ("name", ""),
        ("name", "default"),
        ("name", "x" * 101),
    ],
)
def test_a_policy_is_validated(api: Api, field: str, value: Any) -> None:
    body = {"name": "new", "matchers": 'a="b"'} | {field: value}
    problem = api.send("post", "policies/", 400, **body)
    assert problem["title"] == "Bad Request"
    assert problem["errors"][0]["pointer"].startswith(f"/{field}")
    assert StormPolicy.objects.count() == 1


@pytest.mark.parametrize("change", [{"enabled": False}, {"matchers": 'a="b"'}])
def test_the_last_policy_that_catches_every_alert_cannot_be_taken_away(api: Api, change: dict[str, Any]) -> None:
    last = StormPolicy.objects.get()
    make_policy()
    for problem in (
        api.send("patch", f"policies/{last.pk}/", 400, **change),
        api.send("delete", f"policies/{last.pk}/", 400),
    ):
        assert "last enabled policy without matchers" in problem["errors"][0]["detail"]
    last.refresh_from_db()
    assert (last.enabled, last.matchers, last.version) == (True, "", 1)


def test_a_policy_s_version_cannot_be_set(api: Api) -> None:
    assert api.send("post", "policies/", 201, name="new", version=9)["version"] == 1


# --- the schema


def test_the_schema_is_valid_and_complete(tmp_path: Any) -> None:
    path = tmp_path / "schema.yml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(path))
    schema = yaml.safe_load(path.read_text())
    for name in LISTS:
        operation = schema["paths"][f"/api/v1/{name}/"]["get"]
        assert operation["security"] == [{"apiToken": []}, {"cookieAuth": []}]
        assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}
    alerts = {parameter["name"] for parameter in schema["paths"]["/api/v1/alerts/"]["get"]["parameters"]}
    assert {"cursor", "page_size", "ordering", "label", "storm", "received_after", "received_before"} <= alerts


def test_the_schema_and_its_documentation_are_served(client: Client) -> None:
    assert client.get("/api/schema/").status_code == 200
    assert client.get("/api/docs/").status_code == 200


def test_a_user_s_tokens_go_with_the_user() -> None:
    user = make_admin()
    create_api_token(user=user)
    get_user_model().objects.all().delete()
    assert ApiToken.objects.count() == 0
