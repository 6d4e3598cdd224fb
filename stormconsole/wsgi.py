"""The WSGI edge: pages, admin, API and webhooks."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")

application = get_wsgi_application()
