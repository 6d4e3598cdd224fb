"""With LOG_FORMAT=json whatever any process writes is one JSON object in a line, libraries' lines too."""

import json

import pytest

from tests.harness.http import alert, payload, post_many
from tests.harness.stack import Stack
from tests.harness.wait import wait_until


@pytest.mark.slow
def test_every_process_writes_json_lines() -> None:
    with Stack(web=1, watch=True, env={"LOG_FORMAT": "json"}) as stack:
        [answer] = post_many(stack.url, stack.token(), [payload([alert() for _ in range(10)])])
        assert answer.status == 201
        applied = "select 1 from storms_remediationrequest where sync_state = 'applied'"
        wait_until(lambda: stack.query(applied), 20, "applied")
        stack.valkey.kill()
        wait_until(lambda: "Valkey" in stack.log("sweep") or "store" in stack.log("sweep"), 20, "the sweep notices")
        stack.valkey.start()
        logs = {name: stack.log(name).splitlines() for name in stack.processes}
    for name, lines in logs.items():
        for line in lines:
            told = json.loads(line)
            assert {"time", "level", "logger", "message"} <= told.keys(), (name, line)
            assert told["logger"] != "uvicorn.access", "a line for each request"
    assert logs["sweep"]
