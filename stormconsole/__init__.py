"""Wiring only: settings, URLs, the ASGI and WSGI edges, Celery, system checks and the embedded stack."""

from stormconsole.celery import app as celery_app

__version__ = "0.1.0"
__all__ = ["celery_app"]
