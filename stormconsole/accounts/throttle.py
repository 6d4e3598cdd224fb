"""Failed logins, counted by django-axes in PostgreSQL: one can log in while Valkey is away."""

from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Sum
from django.http import HttpRequest

ADDRESS_FACTOR = 10
"""An address may fail so many times more, over all accounts: behind one address sits perhaps a whole company."""


def client_address(request: HttpRequest) -> str | None:
    """The peer's; behind trusted proxies the server has put the client's there."""
    return request.META.get("REMOTE_ADDR") or None


class LoginThrottle(AxesDatabaseHandler):
    """LOGIN_FAILURES for one account from one address, ten times that for one address."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        of_account: int = super().get_failures(request, credentials)
        if of_account >= settings.AXES_FAILURE_LIMIT:
            return of_account
        recent = AccessAttempt.objects.filter(
            ip_address=client_address(request), attempt_time__gt=get_cool_off_threshold(request)
        )
        of_address = recent.aggregate(all=Sum("failures_since_start"))["all"] or 0
        return max(of_account, of_address // ADDRESS_FACTOR)
