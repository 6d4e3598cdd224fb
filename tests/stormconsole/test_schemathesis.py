"""The API against its own schema: whatever the schema allows, or forbids, is answered as the schema says.

Every operation with every method gets some dozens of requests that schemathesis makes up, through Django's WSGI
application and a real database. `make fuzz` looks longer.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from stormconsole.wsgi import application
from storms.api_tokens import create_api_token
from tests.factories import (
    make_admin,
    make_alert,
    make_closed_storm,
    make_dead_letter,
    make_delivery,
    make_event,
    make_request,
    make_storm,
)
from tests.harness.examples import examples

NOT_CHECKED = [
    # The token goes with every request here, so the made-up ones it replaces prove nothing; who may do what without one
    # is in test_api.py and test_roles.py.
    ignored_auth,
    # A schema cannot say what a matcher, a pattern or the last catch-all policy is.
    positive_data_acceptance,
]
EXAMPLES = examples(12)
pytestmark = pytest.mark.hypothesis


@pytest.fixture
def rows(transactional_db: None, valkey: Any) -> None:
    """One of everything, so that lists have something to show."""
    storm = make_storm()
    make_event(storm)
    make_request(storm=storm)
    make_request(alert=make_alert())
    make_alert(storm=storm)
    make_closed_storm()
    make_dead_letter(delivery=make_delivery())


def test_every_operation_keeps_to_its_schema(rows: None) -> None:
    _, token = create_api_token(user=make_admin())
    headers = {"Authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application, headers=headers)
    problems: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        problems += try_operation(operation, headers)
    assert not problems, "\n\n".join(problems)


def try_operation(operation: Any, headers: dict[str, str]) -> list[str]:
    found: list[str] = []

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Any) -> None:
        response = case.call(headers=headers)
        try:
            case.validate_response(response, excluded_checks=NOT_CHECKED)
        except BaseException as error:
            found.append(f"{operation.label}: {str(error)[:1500]}")
            raise

    try:
        run()
    except BaseException as error:
        if not found:
            raise error
    return found[-1:]
