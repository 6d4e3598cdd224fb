"""`GET /metrics`."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client.exposition import choose_encoder

from ingestion.metrics import registry


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Open, as is the custom of exporters, unless METRICS_TOKEN is set; then `Authorization: Bearer <token>`."""
    if settings.METRICS_TOKEN and not constant_time_compare(
        request.headers.get("Authorization", ""), f"Bearer {settings.METRICS_TOKEN}"
    ):
        return HttpResponse(
            "METRICS_TOKEN is set: send it as a bearer token.\n",
            status=401,
            content_type="text/plain; charset=utf-8",
            headers={"WWW-Authenticate": 'Bearer realm="stormconsole"'},
        )
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry()), content_type=content_type)
