"""WebSocket addresses; `stormconsole.asgi` wraps them in the origin check and the session."""

from typing import Any

from django.urls import path

from storms import consumers

live_socket: Any = consumers.live_socket  # `path` is typed for views

websocket_urlpatterns = [
    path("ws/storms/", live_socket),
    path("ws/storms/<uuid:storm_id>/", live_socket),
]
