"""A typed-in address leads outside, or to what is allowed; a real server stands for the inside."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from stormconsole import env, outgoing
from stormconsole.outgoing import OutgoingFailed, OutgoingRefused
from tests.harness.served import served


class Inside(BaseHTTPRequestHandler):
    """What must not be reached: it writes down who asked for what."""

    asked: list[tuple[str, str]] = []
    shown: list[str | None] = []
    left = threading.Event()

    def do_GET(self) -> None:
        Inside.asked.append((self.path, self.headers["Host"]))
        Inside.shown.append(self.headers["Authorization"])
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()
            return
        if self.path == "/slow-head":
            with suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not Inside.left.wait(0.1):
                    self.wfile.write(b"X-More: x\r\n")
            return
        if self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not Inside.left.wait(0.1):
                    self.wfile.write(b"x")
            return
        body = b"x" * 5000 if self.path == "/large" else b'{"ok": true}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def inside() -> Iterator[int]:
    """The port of a server on this machine."""
    Inside.asked.clear()
    Inside.shown.clear()
    with served(Inside) as port:
        yield port


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "localhost.",
    ],
)
def test_the_inside_is_refused_however_it_is_written(inside: int, host: str) -> None:
    with pytest.raises(OutgoingRefused):
        outgoing.get(f"http://{host}:{inside}/")
    assert Inside.asked == []


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "file:///etc/passwd", "http://a@127.0.0.1/", "gopher://x", "", "/"]
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(OutgoingRefused, match="no web address"):
        outgoing.get(url)


@pytest.mark.parametrize("host", ["93.184.216.34", "[2606:2800:220:1::1]", "8.8.8.8"])
def test_the_outside_may_be_asked(host: str) -> None:
    assert outgoing.destination(f"https://{host}/x?y=1#z").target == "/x?y=1"


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "localhost"])
def test_what_is_allowed_is_reached_by_its_name(inside: int, settings: Any, allowed: str) -> None:
    settings.ALLOWED_OUTGOING = ["10.0.0.0/8", "2001:db8::/32", allowed]
    host = "localhost" if allowed == "localhost" else "127.0.0.1"
    answer = outgoing.get(f"http://{host}:{inside}/api/v2/alerts?active=true")
    assert (answer.status, answer.body) == (200, b'{"ok": true}')
    assert Inside.asked == [("/api/v2/alerts?active=true", f"{host}:{inside}")]


def test_a_name_that_leads_inside_is_refused(inside: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of its addresses are outside, one is not: it could be any of them that answers."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, inside)) for ip in ("93.184.216.34", "127.0.0.1")]
    monkeypatch.setattr(outgoing.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(OutgoingRefused, match=r"internal address 127\.0\.0\.1"):
        outgoing.get(f"http://evil.example:{inside}/")


def test_a_name_is_looked_up_once(inside: int, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answer of a name server that rebinds never gets a chance: the checked address is connected to."""
    settings.ALLOWED_OUTGOING = ["127.0.0.1"]
    real, asked = socket.getaddrinfo, []

    def once(host: str, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host == "rebind.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", once)
    assert outgoing.get(f"http://rebind.example:{inside}/").status == 200
    assert asked.count("rebind.example") == 1
    assert Inside.asked == [("/", f"rebind.example:{inside}")]


def test_a_redirect_is_not_followed(inside: int, settings: Any) -> None:
    settings.ALLOWED_OUTGOING = ["127.0.0.1"]
    answer = outgoing.get(f"http://127.0.0.1:{inside}/redirect")
    assert (answer.status, len(Inside.asked)) == (302, 1)


def test_an_answer_is_bounded_and_silence_ends(inside: int, settings: Any) -> None:
    settings.ALLOWED_OUTGOING = ["127.0.0.1"]
    with pytest.raises(OutgoingFailed, match="more than 1000 bytes"):
        outgoing.get(f"http://127.0.0.1:{inside}/large", max_bytes=1000)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OutgoingFailed, match="did not answer"):
        outgoing.get(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2)


@pytest.mark.parametrize("path", ["/slow", "/slow-head"])
def test_an_answer_that_never_ends_is_given_up(inside: int, settings: Any, path: str) -> None:
    """A byte now and then, so that no single read waits for long."""
    settings.ALLOWED_OUTGOING = ["127.0.0.1"]
    Inside.left.clear()
    try:
        with pytest.raises(OutgoingFailed, match=r"within 0\.5 s"):
            outgoing.get(f"http://127.0.0.1:{inside}{path}", timeout=0.5)
    finally:
        Inside.left.set()


@pytest.mark.parametrize("host", ["\u4f8b\u3048.invalid", "x" * 64 + ".invalid", "\u00fc" * 64 + ".invalid"])
def test_a_name_in_any_script_is_asked_for_or_refused(host: str) -> None:
    with pytest.raises(OutgoingRefused):
        outgoing.get(f"http://{host}:9093/api/v2/status")


def test_a_proxy_of_the_environment_is_not_used(inside: int, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ALLOWED_OUTGOING = ["127.0.0.1"]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert outgoing.get(f"http://127.0.0.1:{inside}/").status == 200


def test_credentials_are_shown_to_their_own_origin_alone(inside: int, settings: Any) -> None:
    """Who may type in an address must not have another host's credentials sent there."""
    settings.ALLOWED_OUTGOING = ["127.0.0.1", "localhost"]
    settings.OUTGOING_CREDENTIALS = {
        f"http://localhost:{inside}": "Bearer its-own",
        "http://127.0.0.1": "Bearer another",
    }
    outgoing.get(f"http://127.0.0.1:{inside}/")
    outgoing.get(f"http://LOCALHOST:{inside}/api/v2/alerts")
    outgoing.get(f"http://localhost:{inside}/redirect")
    assert Inside.shown == [None, "Bearer its-own", "Bearer its-own"]
    assert len(Inside.asked) == 3


def test_credentials_are_read_line_by_line_and_never_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "credentials"
    path.write_text("https://Alertmanager.example.:443/ Bearer abc=\n\n http://10.0.0.1:9093\tBasic dXNlcjpwYXNz\n")
    monkeypatch.setenv("OUTGOING_CREDENTIALS_FILE", str(path))
    assert env.credentials("OUTGOING_CREDENTIALS") == {
        "https://alertmanager.example": "Bearer abc=",
        "http://10.0.0.1:9093": "Basic dXNlcjpwYXNz",
    }
    for wrong in (
        "Bearer abc=",
        "https://a.example",
        "https://a.example/path Bearer abc=",
        "ftp://a.example abc=",
        "http://a.example abc=\u00e9",
    ):
        path.write_text(wrong)
        with pytest.raises(ImproperlyConfigured) as refused:
            env.credentials("OUTGOING_CREDENTIALS")
        assert "OUTGOING_CREDENTIALS: expected lines such as" in str(refused.value)
        assert "abc" not in str(refused.value)


def test_a_name_in_another_script_is_the_same_host_wherever_it_is_named(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setenv("OUTGOING_CREDENTIALS", "https://Alarm.M\u00fcller.example\u3002:9093 Bearer abc")
    monkeypatch.setenv("ALLOWED_OUTGOING", "Alarm.M\u00dcLLER.example, 10.0.0.0/8, ::1")
    assert env.credentials("OUTGOING_CREDENTIALS") == {"https://alarm.xn--mller-kva.example:9093": "Bearer abc"}
    assert env.hosts("ALLOWED_OUTGOING") == ["alarm.xn--mller-kva.example", "10.0.0.0/8", "::1"]

    settings.OUTGOING_CREDENTIALS = env.credentials("OUTGOING_CREDENTIALS")
    settings.ALLOWED_OUTGOING = env.hosts("ALLOWED_OUTGOING")[:1]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", ("192.168.0.9", 9093))])
    to = outgoing.destination("https://ALARM.m\u00fcller.example.:9093/api")
    assert (to.host, to.credentials) == ("alarm.xn--mller-kva.example", {"Authorization": "Bearer abc"})


@pytest.mark.parametrize(
    "wrong",
    [
        "m\u00fcller..example",
        "fa\u00df.example",  # fass.example once, another host today
        "http://alertmanager:9093",
        "alertmanager:9093",
        "[::1]",
        "10.0.0.0/33",
        "a..b",
    ],
)
def test_what_is_no_host_stops_the_start(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_OUTGOING", f"am.example,{wrong}")
    with pytest.raises(ImproperlyConfigured, match="ALLOWED_OUTGOING: expected hosts, addresses and networks, got"):
        env.hosts("ALLOWED_OUTGOING")


def test_a_name_that_stands_for_two_hosts_is_not_asked() -> None:
    with pytest.raises(outgoing.OutgoingRefused, match="write it as xn--"):
        outgoing.destination("https://fa\u00df.example/")
