"""A RemediationRequest as applied, beside what the cluster has: field by field, as YAML, and what drifted."""

import re
from copy import deepcopy
from typing import Any

import pytest
import yaml
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from storms.desired import desired_manifest
from storms.differences import MAX_VALUE, Difference, differences
from storms.models import LocalResource, ObservedResource, RemediationRequest, StormEvent
from storms.observed import MAX_DIFFERENCES, MAX_STATUS_BYTES, compare, storable, storable_status
from storms.tasks import sync
from tests.factories import make_admin, make_alert, make_event, make_manifest, make_request, make_storm, make_user

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert list(differences(value, deepcopy(value))) == []


@given(json_values, json_values)
def test_what_differs_is_found_from_either_side(one: Any, other: Any) -> None:
    found = list(differences(one, other))
    assert bool(found) == (one != other)
    assert [(d.path, d.after, d.before) for d in found] == [
        (d.path, d.before, d.after) for d in differences(other, one)
    ]


def test_paths_lead_to_the_innermost_field() -> None:
    before = {"spec": {"storm": {"names": [{"name": "A", "count": 1}], "n": 1}}, "labels": {"a.b/c": "x"}}
    after = {"spec": {"storm": {"names": [{"name": "A", "count": 2}, {"name": "B"}]}}, "labels": {"a.b/c": "y"}}
    assert list(differences(before, after)) == [
        Difference("labels[a.b/c]", '"x"', '"y"'),
        Difference("spec.storm.n", "1", None),
        Difference("spec.storm.names[0].count", "1", "2"),
        Difference("spec.storm.names[1]", None, '{"name": "B"}'),
    ]
    short = [one.path for one in differences(before, after, into_lists=False)]
    assert short == ["labels[a.b/c]", "spec.storm.n", "spec.storm.names"]


def test_a_long_value_is_cut() -> None:
    [one] = differences("x" * 1_000, "y")
    assert one.before is not None
    assert len(one.before) == MAX_VALUE


def test_a_status_is_bounded() -> None:
    status = {"phase": "Failed", "message": "m" * 5_000, "conditions": [{"message": "c" * MAX_STATUS_BYTES}]}
    assert storable_status({"status": status}) == {"phase": "Failed", "message": "m" * 1_000}
    assert storable_status({}) == {}
    assert storable_status({"status": {"phase": "Failed"}}) == {"phase": "Failed"}


def test_managed_fields_are_not_kept() -> None:
    resource = {"kind": "R", "metadata": {"name": "n", "managedFields": [1], "labels": {}}, "spec": {}, "status": {}}
    assert storable(resource) == {"kind": "R", "spec": {}, "metadata": {"name": "n", "labels": {}}}


# --- compared

pytestmark = pytest.mark.django_db


def in_cluster(request: RemediationRequest, body: dict[str, Any] | None, **fields: Any) -> None:
    ObservedResource.objects.create(request=request, at=timezone.now(), body=body, **fields)


def remote(**fields: Any) -> RemediationRequest:
    return make_request(storm=make_storm(), cluster="https://kube.example", uid="u-1", **fields)


def edited(request: RemediationRequest, **spec: Any) -> dict[str, Any]:
    body = deepcopy(request.manifest)
    assert body is not None
    body["spec"] |= spec
    return body


def test_what_nobody_touched_is_as_applied() -> None:
    request = remote(resource_version="7")
    compared = compare(request)
    assert (compared.state, compared.drifted, compared.differences) == ("applied", False, [])
    assert compared.found is not None
    assert compared.found["metadata"] | {"uid": "u-1", "resourceVersion": "7"} == compared.found["metadata"]


def test_an_edited_field_is_drift() -> None:
    request = remote()
    in_cluster(request, edited(request, severity="info"), status={"phase": "Pending"})
    compared = compare(request)
    assert (compared.state, compared.drifted) == ("differs", True)
    assert compared.differences == [Difference("spec.severity", '"critical"', '"info"')]
    assert compared.found is not None
    assert compared.found["status"] == {"phase": "Pending"}


def test_a_label_that_somebody_added_is_no_drift() -> None:
    request = remote()
    body = edited(request)
    body["metadata"]["labels"] = {"team": "theirs"}
    in_cluster(request, body)
    compared = compare(request)
    assert (compared.state, compared.drifted) == ("differs", False)


def test_a_field_added_to_the_spec_is_drift() -> None:
    request = remote()
    in_cluster(request, edited(request, added="x"))
    assert compare(request).drifted


def test_what_was_deleted_is_said() -> None:
    request = remote()
    in_cluster(request, {})
    compared = compare(request)
    assert (compared.state, compared.drifted, compared.found) == ("deleted", True, None)


def test_nothing_was_applied_yet() -> None:
    compared = compare(make_request(storm=make_storm(), manifest=None))
    assert (compared.state, compared.drifted, compared.found) == ("none", False, None)


def test_the_differences_are_bounded() -> None:
    request = remote()
    in_cluster(request, edited(request, **{f"field{n}": n for n in range(MAX_DIFFERENCES + 5)}))
    compared = compare(request)
    assert (len(compared.differences), compared.more) == (MAX_DIFFERENCES, True)


def test_the_local_cluster_is_compared_too(valkey: Any) -> None:
    storm = make_storm()
    make_alert(storm=storm)
    request = make_request(storm=storm, manifest=None, sync_state="pending", applied_at=None, cluster="")
    sync(request.id)
    request.refresh_from_db()
    assert compare(request).state == "applied"
    held = LocalResource.objects.get(name=request.name)
    held.body["spec"]["severity"] = "info"
    held.save()
    assert [one.path for one in compare(request).differences] == ["spec.severity"]
    held.delete()
    assert compare(request).state == "deleted"


# --- the page and the files


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


def test_the_page_shows_the_drift(admin: Client, django_assert_num_queries: Any) -> None:
    request = remote(last_error="timed out", attempts=3)
    condition = {"type": "Ready", "status": "False", "reason": "NoNodes", "message": "<b>none</b> is free"}
    in_cluster(request, edited(request, severity="<script>alert(1)</script>"), status={"conditions": [condition]})
    with django_assert_num_queries(5):
        seen = admin.get(f"/remediation-requests/{request.id}/").content.decode()
    for words in ("drift", "spec.severity", "1 different field", "NoNodes", "3 attempts", "As the cluster has it"):
        assert words in seen
    assert "<script>alert" not in seen
    assert "<b>none" not in seen


def test_the_storm_s_page_leads_to_it(admin: Client) -> None:
    request = remote()
    assert f'hx-get="/remediation-requests/{request.id}/"' in admin.get(f"/storms/{request.id}/").content.decode()
    part = admin.get(f"/remediation-requests/{request.id}/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "signalName: HighLatency" in part


def test_both_can_be_downloaded(admin: Client) -> None:
    request = remote()
    in_cluster(request, edited(request, severity="info"))
    applied = admin.get(f"/api/v1/remediation-requests/{request.id}/manifest.yaml")
    held = admin.get(f"/api/v1/remediation-requests/{request.id}/observed.yaml")
    assert yaml.safe_load(applied.content) == make_manifest(request.name)
    assert yaml.safe_load(held.content)["spec"]["severity"] == "info"
    assert held["Content-Disposition"] == f'attachment; filename="{request.name}-in-cluster.yaml"'
    ObservedResource.objects.update(body={})
    assert admin.get(f"/api/v1/remediation-requests/{request.id}/observed.yaml").status_code == 404


@pytest.mark.parametrize("kind", ["storm", "alert"])
def test_a_manifest_that_was_rejected_at_once_can_be_read_and_downloaded(kind: str, admin: Client) -> None:
    """Nothing was applied: what is needed to see why is what would be sent."""
    never: dict[str, Any] = {
        "manifest": None,
        "applied_at": None,
        "apply_count": 0,
        "applied_version": 0,
        "cluster": "",
    }
    storm = make_storm()
    alert = make_alert(storm=storm if kind == "storm" else None)
    owner: dict[str, Any] = {"storm": storm} if kind == "storm" else {"alert": alert}
    request = make_request(**owner, **never, sync_state="rejected", last_error="severity: Unsupported value")
    page = f"/remediation-requests/{request.id}/"
    assert f'hx-get="{page}"' in admin.get(f"/{kind}s/{request.id}/").content.decode()
    part = admin.get(page, headers={"HX-Request": "true"}).content.decode()
    assert "not in the cluster yet" in part
    assert "signalName: HighLatency" in part
    seen = admin.get(page).content.decode()
    assert "Unsupported value" in seen
    [address] = re.findall(r'href="([^"]+)">Download YAML as it would be sent<', seen)
    events = StormEvent.objects.count()
    answer = admin.get(address)
    assert answer["Content-Disposition"] == f'attachment; filename="{request.name}-desired.yaml"'
    row = RemediationRequest.objects.select_related("alert", "superseded_by").get(id=request.id)
    assert yaml.safe_load(answer.content) == desired_manifest(row)
    assert "Download YAML as applied" not in seen
    assert StormEvent.objects.count() == events


def test_a_change_that_was_rejected_is_shown_beside_what_was_applied(admin: Client) -> None:
    request = remote(sync_state="rejected", last_error="spec.severity: Unsupported value")
    make_alert(storm=request.storm)
    seen = admin.get(f"/remediation-requests/{request.id}/").content.decode()
    assert "As the console would send it: the cluster rejected it" in seen
    assert "Download YAML as applied" in seen
    assert "Download YAML as it would be sent" in seen


def test_a_storm_without_an_alert_has_nothing_to_send_yet(admin: Client) -> None:
    request = make_request(storm=make_storm(), manifest=None, applied_at=None, sync_state="pending")
    assert "nothing to send before" in admin.get(f"/remediation-requests/{request.id}/").content.decode()
    assert admin.get(f"/api/v1/remediation-requests/{request.id}/desired.yaml").status_code == 404


def test_who_may_not_see_requests_sees_none(client: Client) -> None:
    request = remote()
    client.force_login(make_user("viewer", "storms.view_storm"))
    assert client.get(f"/remediation-requests/{request.id}/").status_code == 403
    assert "/remediation-requests/" not in client.get(f"/storms/{request.id}/").content.decode()


def test_the_timeline_says_what_was_changed(admin: Client) -> None:
    request = remote()
    changes = [{"path": "spec.severity", "applied": '"critical"', "found": '"<i>info</i>"'}]
    make_event(request.storm, kind="drift", message="edited", detail={"changes": changes})  # type: ignore[arg-type]
    seen = admin.get(f"/storms/{request.id}/").content.decode()
    assert "What was changed" in seen
    assert "&lt;i&gt;info&lt;/i&gt;" in seen
