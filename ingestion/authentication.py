"""Receivers authenticate with `Authorization: Bearer <token>`, or with basic auth and the token as the password."""

import base64
import binascii

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from ingestion import receivers
from ingestion.receivers import KnownReceiver


class ReceiverAuthentication(BaseAuthentication):
    """DRF authentication: `request.user` is the receiver."""

    def authenticate(self, request: Request) -> tuple[KnownReceiver, None]:
        token = _token(request.META.get("HTTP_AUTHORIZATION", ""))
        if not token:
            raise AuthenticationFailed("No token: send Authorization: Bearer <the receiver's token>.")
        receiver = receivers.find(token)
        if receiver is None:
            raise AuthenticationFailed("Unknown or revoked token: rotate the receiver's token in the admin.")
        return receiver, None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="stormconsole"'


def _token(header: str) -> str:
    scheme, _, credentials = header.partition(" ")
    credentials = credentials.strip()
    if scheme.lower() == "bearer":
        return credentials
    if scheme.lower() != "basic":
        return ""
    try:
        _, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return password
