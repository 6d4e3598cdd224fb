"""The reconciler's page and its API: what the runs found, and who may have one done."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from ingestion.models import ReconcileRun
from ingestion.reconcile_services import request_due_run
from tests.factories import make_user

PAGE = "/system/reconcile/"
API = "/api/v1/reconcile-runs/"
VIEWER = "ingestion.view_reconcilerun"
OPERATOR = (VIEWER, "ingestion.add_reconcilerun")
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs that a worker was asked to do."""
    ids: list[int] = []
    for module in ("reconcile_pages", "reconcile_api"):
        monkeypatch.setattr(f"ingestion.{module}.enqueue_reconciliation", ids.append)
    return ids


def log_in(*permissions: str) -> Client:
    client = Client()
    client.force_login(make_user("ada", *permissions))
    return client


def make_run(**fields: Any) -> ReconcileRun:
    now = timezone.now()
    defaults = {"state": "done", "started_at": now, "finished_at": now, "checked": {"deliveries": 1234}}
    return ReconcileRun.objects.create(**defaults | fields)


def finding(**fields: str) -> dict[str, str]:
    defaults = {"kind": "counts_differ", "target": "storm 1", "detail": "differs", "result": "repaired", "advice": ""}
    return defaults | fields


def shown(client: Client, **query: str) -> str:
    response = client.get(PAGE, query)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_it_says_that_everything_agrees() -> None:
    make_run()
    seen = shown(log_in(VIEWER))
    assert "Everything agrees" in seen
    assert "<dt>deliveries</dt><dd>1,234</dd>" in seen


def test_it_shows_the_last_run_in_full_and_others_when_asked() -> None:
    old = make_run(found=1, repaired=1, findings=[finding(target="storm old")], actor="grace")
    make_run(
        found=2, repaired=1, findings=[finding(), finding(kind="resource_extra", result="listed", advice="kubectl")]
    )
    client = log_in(VIEWER)
    seen = shown(client)
    assert "2 disagreements found, 1 repaired" in seen
    assert "kubectl" in seen
    assert "storm old" not in seen
    assert "storm old" in shown(client, run=str(old.id))
    for nonsense in ("x", "9" * 30, "²", "-1"):
        assert "2 disagreements found" in shown(client, run=nonsense)


def test_it_says_what_could_not_be_looked_at() -> None:
    make_run(skipped={"resources": "connection refused"})
    seen = shown(log_in(VIEWER))
    assert "Nothing disagrees, as far as could be seen" in seen
    assert "<b>Resources</b> could not be looked at: connection refused" in seen


def test_it_says_that_nothing_ran_yet() -> None:
    assert "It has not run yet." in shown(log_in(VIEWER))


def test_hostile_text_is_text() -> None:
    evil = finding(target=EVIL, detail=EVIL, result=EVIL, advice=EVIL)
    make_run(state="failed", error=EVIL, actor=EVIL, findings=[evil], found=1, skipped={EVIL: EVIL}, counts={EVIL: 1})
    seen = shown(log_in(VIEWER))
    assert "<script>alert" not in seen
    assert "<img src=x" not in seen


def test_a_page_costs_as_many_queries_for_many_runs_as_for_one(django_assert_max_num_queries: Any) -> None:
    for _ in range(30):
        make_run(found=500, findings=[finding()] * 500)
    client = log_in(*OPERATOR)
    # Session, user, two of permissions, the run, the runs, those that wait.
    with django_assert_max_num_queries(7):
        shown(client)


@pytest.mark.parametrize(("button", "dry"), [("repair", False), ("dry_run", True)])
def test_an_operator_has_it_done_now(asked: list[int], button: str, dry: bool) -> None:
    client = log_in(*OPERATOR)
    assert "Look and repair now" in shown(client)

    seen = client.post(f"{PAGE}run/", {button: ""}, follow=True).content.decode()

    run = ReconcileRun.objects.get()
    assert (run.state, run.dry_run, run.actor) == ("queued", dry, "ada")
    assert asked == [run.id]
    assert "run that ada asked for waits for a worker" in " ".join(seen.split())


def test_a_viewer_cannot_have_it_done(asked: list[int]) -> None:
    viewer = log_in(VIEWER)
    assert "repair now" not in shown(viewer)
    assert viewer.post(f"{PAGE}run/").status_code == 403
    assert viewer.post(API, {"dry_run": True}, "application/json").status_code == 403
    assert Client().post(f"{PAGE}run/").status_code == 302
    assert Client().post(API).status_code == 401
    assert log_in_other().get(PAGE).status_code == 403
    assert asked == []
    assert not ReconcileRun.objects.exists()


def log_in_other() -> Client:
    client = Client()
    client.force_login(make_user("bob", "storms.view_storm"))
    return client


def test_the_api_asks_for_a_run_and_shows_it(asked: list[int]) -> None:
    client = log_in(*OPERATOR)
    answer = client.post(API, {"dry_run": True}, "application/json")
    assert answer.status_code == 202
    run = answer.json()
    assert (run["state"], run["dry_run"], run["actor"], run["findings"]) == ("queued", True, "ada", [])
    assert asked == [run["id"]]

    done = make_run(found=1, findings=[finding()])
    assert client.get(f"{API}{done.id}/").json()["findings"] == [finding()]
    assert [row["id"] for row in client.get(API, {"state": "done"}).json()["results"]] == [done.id]


def test_the_console_asks_for_a_run_when_the_last_one_is_long_ago(settings: Settings) -> None:
    settings.RECONCILE_MINUTES = 60
    now = timezone.now()
    make_run(actor="ada")
    make_run(dry_run=True)
    first = request_due_run(now=now)
    assert first is not None
    assert (first.actor, first.dry_run) == ("", False)
    assert request_due_run(now=now) is None

    later = now + timedelta(minutes=61)
    ReconcileRun.objects.update(state="done")
    assert request_due_run(now=later) not in (None, first)

    settings.RECONCILE_MINUTES = 0
    assert request_due_run(now=later + timedelta(days=9)) is None
