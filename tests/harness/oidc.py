"""A small OpenID Connect provider on the loopback: discovery, authorization code flow with PKCE, RS256 tokens.

    with Provider() as provider:
        provider.person = {"sub": "42", "preferred_username": "grace", "groups": ["oncall"]}
        back = provider.log_in(authorize_url)      # what a browser does there; the address it is sent back to

It checks what a provider checks (client, secret, redirect address, code verifier, a code's single use), so that a
client that leaves something out fails. `lie` changes an ID token before it is signed; `sign_with` is another key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "stormconsole", "a-client-secret"
KEY_ID = "key-1"


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider:
    def __init__(self) -> None:
        self.key = new_key()
        self.sign_with: rsa.RSAPrivateKey = self.key
        self.person: dict[str, Any] = {"sub": "42", "preferred_username": "grace", "email": "grace@example.com"}
        self.lie: Callable[[dict[str, Any]], None] = lambda claims: None
        self.userinfo: dict[str, Any] = {}
        self.down = False
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, dict[str, Any]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Provider:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def log_in(self, authorize_url: str) -> str:
        """Follow the console's redirect as a browser with a session at the provider does."""
        answer = httpx.get(authorize_url)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    # --- the endpoints: (status, document), or a redirect's address

    def discovery(self) -> tuple[int, dict[str, Any]]:
        return 200, {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
        }

    def jwks(self) -> tuple[int, dict[str, Any]]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return 200, {"keys": [public | {"kid": KEY_ID, "alg": "RS256", "use": "sig"}]}

    def authorize(self, query: dict[str, str]) -> str:
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        assert "openid" in query["scope"].split()
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None:
            return 400, {"error": "invalid_grant"}
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if form.get("redirect_uri") != asked["redirect_uri"] or challenge != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        access = secrets.token_urlsafe(16)
        self._tokens[access] = dict(self.person)
        return 200, {"access_token": access, "token_type": "Bearer", "id_token": self._id_token(asked["nonce"])}

    def user(self, authorization: str) -> tuple[int, dict[str, Any]]:
        person = self._tokens.get(authorization.removeprefix("Bearer "))
        return (200, person | self.userinfo) if person else (401, {"error": "invalid_token"})

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        times = {"iat": now, "exp": now + 300}
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "sub": self.person["sub"], "nonce": nonce} | times
        self.lie(claims)
        return jwt.encode(claims, self.sign_with, algorithm="RS256", headers={"kid": KEY_ID})


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path == "/authorize":
                self._redirect(provider.authorize(query))
            elif parts.path == "/userinfo":
                self._answer(*provider.user(self.headers.get("Authorization", "")))
            else:
                known = {"/.well-known/openid-configuration": provider.discovery, "/jwks": provider.jwks}
                self._answer(*(known[parts.path]() if parts.path in known else (404, {})))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(*provider.token({name: values[0] for name, values in parse_qs(body).items()}))

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            provider.asked.append(urlsplit(self.path).path)
            body = json.dumps(document).encode()
            self.send_response(503 if provider.down else status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _redirect(self, address: str) -> None:
            self.send_response(302)
            self.send_header("Location", address)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing into the tests' output."""

    return Handler
