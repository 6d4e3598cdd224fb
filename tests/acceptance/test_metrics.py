"""Two web processes on one port are one target: each scrape gives the sum of both."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.http import alert, payload, post_many
from tests.harness.stack import Stack

SENT = 60


def counted(url: str) -> dict[str, float]:
    """Webhooks by status, as one scrape says."""
    text = httpx.get(f"{url}/metrics", timeout=10).text
    return {
        sample.labels["status"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "stormconsole_webhook_duration_seconds_count"
    }


@pytest.mark.slow
def test_webhooks_of_all_processes_are_counted_once() -> None:
    with Stack(web=1, worker=False, sweep=False, env={"WEB_CONCURRENCY": "2"}) as stack:
        token = stack.token()
        answers = post_many(stack.url, token, [payload([alert()]) for _ in range(SENT)])
        statuses = [str(answer.status) for answer in answers]
        expected = {status: statuses.count(status) for status in set(statuses)}
        assert [counted(stack.url) for _ in range(10)] == [expected] * 10
