"""Headers, cookies, origins, secrets: what a browser and a deployment rely on."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from stormconsole.commands import PROJECT
from stormconsole.origins import is_same_origin
from storms.api_tokens import create_api_token
from tests.factories import make_admin, make_user

DEPLOYED = {
    "SECRET_KEY": "k" * 40 + "0123456789abcdef",
    "HTTPS": "true",
    "ALLOWED_HOSTS": "console.example",
    "PUBLIC_URL": "https://console.example",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
}


# --- headers and cookies


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/login/", "/admin/login/", "/api/v1/storms/", "/nowhere", "/healthz"])
def test_every_answer_has_the_security_headers(client: Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    if not path.startswith("/api/"):
        assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "Server" not in headers


@pytest.mark.django_db
def test_what_the_api_answers_is_in_no_cache(client: Client) -> None:
    _, token = create_api_token(user=make_admin())
    answer = client.get("/api/v1/storms/", headers={"Authorization": f"Bearer {token}"})
    assert answer.headers["Cache-Control"] == "private, no-store"


@pytest.mark.django_db
def test_a_session_s_cookie_is_out_of_reach_of_scripts_and_other_sites(client: Client) -> None:
    person = make_user("ada", is_staff=True)
    person.set_password("correct horse")
    person.save()
    client.post(reverse("login"), {"username": "ada", "password": "correct horse"})
    session = client.cookies["sessionid"]
    assert session["httponly"]
    assert session["samesite"] == "Lax"
    assert client.cookies["csrftoken"]["samesite"] == "Lax"


@pytest.mark.django_db
def test_a_form_without_its_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_admin())
    assert client.post(reverse("admin:storms_severityrule_add"), {"value": "x", "severity": "info"}).status_code == 403
    assert client.post("/api/v1/policies/", {"name": "x"}, content_type="application/json").status_code == 403


# --- WebSocket origins; the handshake itself is in test_edge.py


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("localhost:8000", "http://localhost:8000", True),
        ("localhost", "http://localhost", True),
        ("LOCALHOST:8000", "http://localhost:8000", True),
        ("localhost:8000", "https://trusted.example", True),
        ("localhost:8000", "http://localhost:9000", False),
        ("localhost:8000", "http://127.0.0.1:8000", False),
        ("localhost:8000", "https://evil.example", False),
        ("localhost:8000", "https://localhost:8000.evil.example", False),
        ("localhost:8000", "null", False),
        ("localhost:8000", "", False),
        ("localhost:8000", "http://[", False),
        ("localhost:8000", "file://localhost:8000", False),
        ("evil.example", "http://evil.example", False),
        ("", "http://", False),
    ],
)
def test_only_the_console_s_own_pages_may_listen(settings: Any, host: str, origin: str, allowed: bool) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example"]
    settings.PUBLIC_URL = "https://console.example"
    assert is_same_origin({b"host": host.encode(), b"origin": origin.encode()}) is allowed


def test_a_handshake_without_any_header_is_refused() -> None:
    assert not is_same_origin({})


# --- secrets


def test_every_secret_can_come_from_a_file(tmp_path: Path) -> None:
    """Whatever is called a key, a secret, a password, a token or an address with a password in it."""
    table = (PROJECT / "README.md").read_text().split("## Configuration")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    secret = re.compile(r"`([A-Z0-9_]*(?:SECRET|PASSWORD|TOKEN|DATABASE_URL|REDIS_URL)[A-Z0-9_]*)`")
    named = [(match[1], row) for row in rows for match in [secret.search(row.split("|")[1])] if match]
    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} <= {name for name, _ in named}
    for name, row in named:
        assert "(`_FILE`)" in row, name


def test_secrets_are_read_from_their_files(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL")}
    files["SECRET_KEY"].write_text("from-a-file-" + "x" * 50 + "\n")
    files["DATABASE_URL"].write_text("postgresql://app:from-a-file@db.example/console\n")
    files["REDIS_URL"].write_text("rediss://:from-a-file@store.example/0\n")
    env = {name: value for name, value in os.environ.items() if name not in files}
    env |= {f"{name}_FILE": str(path) for name, path in files.items()}
    code = (
        "from django.conf import settings as s;"
        "print(s.SECRET_KEY[:11], s.DATABASES['default']['PASSWORD'], s.REDIS_URL[:20])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=env | {"DJANGO_SETTINGS_MODULE": "stormconsole.settings"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["from-a-file", "from-a-file", "rediss://:from-a-fil"]


def test_a_deployment_passes_django_s_checks_and_has_strict_cookies() -> None:
    env = os.environ | DEPLOYED
    check = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(check, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = (
        "from django.conf import settings as s;"
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE,"
        "s.SECURE_HSTS_SECONDS >= 31536000, s.SECURE_SSL_REDIRECT)"
    )
    env |= {"DJANGO_SETTINGS_MODULE": "stormconsole.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["__Host-sessionid", "__Host-csrftoken", "True", "True", "True", "True"]


# --- the threat model


def test_every_threat_names_a_test_that_exists() -> None:
    table = (PROJECT / "docs/security.md").read_text().split("## Threats")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 20
    tests = _tests()
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", row.split("|")[-2])
        assert named, f"no test in: {row}"
        for module, name in named:
            assert module in tests, f"{module} of: {row}"
            assert not name or name in tests[module], f"{module}::{name} of: {row}"


def _tests() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in (PROJECT / "tests").rglob("test_*.py"):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        found.setdefault(path.name, set()).update(function.name for function in functions)
    return found
