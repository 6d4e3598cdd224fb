"""What every template may use, the admin's too."""

from typing import Any

from django.http import HttpRequest

import stormconsole
from storms.cluster.address import cluster_label, is_local

BACKGROUND_HEADER = "X-Console-Refresh"
"""Sent by static/console/storm.js, which takes parts of a page it fetches: a message shown there would be lost."""


def console_context(request: HttpRequest) -> dict[str, Any]:
    return {
        "cluster": cluster_label(),
        "cluster_is_local": is_local(),
        "console_version": stormconsole.__version__,
        "is_background": BACKGROUND_HEADER in request.headers,
    }
