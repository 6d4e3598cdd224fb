"""Celery's application: `celery -A stormconsole worker`."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")

app = Celery("stormconsole")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.imports = ["storms.tasks", "storms.collection_tasks", "storms.baseline_tasks", "ingestion.tasks"]


@worker_ready.connect
def _announce(**_: Any) -> None:
    from stormconsole.alive import start_heartbeat  # here: it needs the settings, which are not loaded above

    start_heartbeat("worker")
