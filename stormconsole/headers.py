"""Security headers that Django does not set; the Content-Security-Policy and the rest are in the settings."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

HEADERS = {
    # No page of the console uses any of these, so nothing that got into one may.
    "Permissions-Policy": "accelerometer=(), camera=(), clipboard-read=(), display-capture=(), geolocation=(), "
    "gyroscope=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeadersMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.path.startswith("/api/"):
            # What a token or a session may read is nothing for a cache on the way.
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response
