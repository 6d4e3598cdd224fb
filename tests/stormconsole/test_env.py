"""A wrong value stops the start and names its variable."""

import os
import subprocess
import sys

import pytest

from stormconsole.commands import PROJECT

WRONG = {
    "DEBUG": "perhaps",
    "SECRET_KEY": "",
    "DATABASE_URL": "mysql://root@127.0.0.1/x",
    "REDIS_URL": "http://127.0.0.1:6379",
    "STORE_TIMEOUT_MS": "soon",
    "MAX_BODY_BYTES": "12",
    "WEB_THREADS": "0",
    "REMEDIATION_NAMESPACE": "Not A Namespace",
    "LOG_LEVEL": "LOUD",
    "KUBERNETES_TIMEOUT_SECONDS": "-1",
    "SECRET_KEY_FILE": "/nowhere/at/all",
}


@pytest.mark.parametrize(("name", "value"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_stops_the_start_and_names_the_variable(name: str, value: str) -> None:

    env = dict(os.environ) | {"SECRET_KEY": "a-key-for-tests", "DJANGO_SETTINGS_MODULE": "stormconsole.settings"}
    started = subprocess.run(
        [sys.executable, "-c", "import stormconsole.settings"],
        cwd=PROJECT,
        env=env | {name: value},
        capture_output=True,
        text=True,
        check=False,
    )

    assert started.returncode != 0
    assert f"ImproperlyConfigured: {name}" in started.stderr


def test_a_secret_may_come_from_a_file(tmp_path) -> None:

    secret = tmp_path / "key"
    secret.write_text("from-a-file\n")
    env = {key: value for key, value in os.environ.items() if key != "SECRET_KEY"} | {"SECRET_KEY_FILE": str(secret)}
    command = [sys.executable, "-c", "from stormconsole import settings; print(settings.SECRET_KEY)"]
    printed = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "from-a-file"
