"""WebSocket addresses; `stormconsole.asgi` wraps them in the origin check and the session."""

from django.urls import path

from storms.consumers import StormConsumer, StormsConsumer

websocket_urlpatterns = [
    path("ws/storms/", StormsConsumer.as_asgi()),
    path("ws/storms/<uuid:storm_id>/", StormConsumer.as_asgi()),
]
