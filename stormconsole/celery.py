"""Celery's application: `celery -A stormconsole worker`."""

import os
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from celery.signals import worker_ready
from kombu import Connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")

RECONNECT_SECONDS = 1


class SteadyConnection(Connection):
    """Tries again every second. The worker's own pauses grow to half a minute, and no setting bounds them: after an
    outage of the broker, nothing would be told to the cluster for so long."""

    def ensure_connection(self, *args: Any, **options: Any) -> "SteadyConnection":
        steady = {"interval_start": RECONNECT_SECONDS, "interval_step": 0, "interval_max": RECONNECT_SECONDS}
        return super().ensure_connection(*args, **options | steady)


class Queues(AMQP):
    Connection = SteadyConnection


app = Celery("stormconsole", amqp=Queues)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.imports = ["storms.tasks", "storms.collection_tasks", "storms.baseline_tasks", "ingestion.tasks"]


@worker_ready.connect
def _announce(**_: Any) -> None:
    from stormconsole.alive import start_heartbeat  # here: it needs the settings, which are not loaded above

    start_heartbeat("worker")
