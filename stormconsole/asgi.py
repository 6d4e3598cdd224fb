"""One port: HTTP goes to Django's WSGI application in a pool of persistent threads, WebSockets to Channels.

Django's own ASGI handler starts a thread, and so a database connection, per request; these threads stay, and keep
theirs.
"""

import os
import sys
from typing import cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")

from stormconsole.wsgi import application as wsgi_application  # isort: skip  (loads the apps before the imports below)

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings

from stormconsole.bridge import WSGIApplication, WSGIBridge
from stormconsole.origins import SameOriginOnly
from storms.routing import websocket_urlpatterns

# The event loop takes turns with the threads that answer webhooks: with Python's own 5 ms for each, an update to open
# pages came a second late while both cores were busy.
sys.setswitchinterval(0.001)

application = ProtocolTypeRouter(
    {
        "http": WSGIBridge(
            cast("WSGIApplication", wsgi_application),
            threads=settings.WEB_THREADS,
            max_body=settings.MAX_BODY_BYTES,
            queue=settings.WEB_QUEUE,
            max_buffer=settings.WEB_BUFFER_BYTES,
        ),
        "websocket": SameOriginOnly(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
