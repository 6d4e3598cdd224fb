"""Who is behind what this thread does right now, for the audit: the address and the way in.

A context variable, so that no service has to hand an address down to where the change is written. The middleware sets
it for each request; outside of one it says "command line", which is who else changes things.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address

from django.http import HttpRequest, HttpResponse


@dataclass(frozen=True, slots=True)
class Caller:
    """How a change came in.

    Attributes:
        address: the peer's, or behind one of TRUSTED_PROXIES the client's; None outside of a request.
        via: `web`, `API token NAME` or `command line`.
    """

    address: str | None = None
    via: str = "command line"


COMMAND_LINE = Caller()
_caller: ContextVar[Caller] = ContextVar("caller", default=COMMAND_LINE)


def caller() -> Caller:
    return _caller.get()


def came_by(via: str) -> None:
    """The way in turned out to be another one, such as a token; holds until the end of the request."""
    _caller.set(Caller(_caller.get().address, via))


def _address(text: str) -> str | None:
    """None for what is no address: a proxy may pass on what a client made up, and PostgreSQL would refuse it."""
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


class CallerMiddleware:
    """Before everything that may write an audit entry."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # The web process's threads live on: what one request set must not be found by the next.
        before = _caller.set(Caller(_address(request.META.get("REMOTE_ADDR", "")), "web"))
        try:
            return self.get_response(request)
        finally:
            _caller.reset(before)
