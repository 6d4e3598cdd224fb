"""Celery's application: `celery -A stormconsole worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")

app = Celery("stormconsole")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.imports = ["storms.tasks"]
