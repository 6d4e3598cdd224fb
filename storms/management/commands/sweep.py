"""`manage.py sweep`: run the timekeeper until stopped."""

import logging
import signal
import threading
import time
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error, connection
from django.utils import timezone

from ingestion.dead_letter_services import any_queued
from ingestion.heartbeat import CHECK_SECONDS, check_heartbeats
from ingestion.reconcile_services import request_due_run, unfinished_runs
from stormconsole.health import start_heartbeat
from storms.queue import enqueue_counting, enqueue_pruning, enqueue_reconciliation, enqueue_replays
from storms.sweep import HOUSEKEEPING_SECONDS, TICK_SECONDS, housekeep, sweep_once, try_lock

logger = logging.getLogger("storms.sweep")

PRUNING_SECONDS = 3600.0
# A console that has just started catches up by itself first.
CATCH_UP = timedelta(minutes=2)
COUNTING_SECONDS = 30.0


class Command(BaseCommand):
    help = "Releases held alerts, closes storms, decides deferred alerts and enqueues what is due. Several may run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="One tick, then stop.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            self.stdout.write(str(sweep_once()))
            self._check_heartbeats()
            self._housekeep()
            return
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        start_heartbeat("sweep")
        self._run(stop)

    def _run(self, stop: threading.Event) -> None:
        leading = False
        started = timezone.now()
        next_check = next_housekeeping = next_pruning = next_counting = time.monotonic()
        pause = TICK_SECONDS
        while not stop.wait(pause):
            pause = TICK_SECONDS
            try:
                if not leading:
                    leading = try_lock()
                    if not leading:
                        continue
                    logger.info("sweeping")
                swept = sweep_once()
                if swept.anything:
                    logger.info("%s", swept)
                pause = 0.0 if swept.goes_on else TICK_SECONDS
                if time.monotonic() >= next_check:
                    next_check = time.monotonic() + CHECK_SECONDS
                    self._check_heartbeats(watching_since=started)
                if time.monotonic() >= next_housekeeping:
                    next_housekeeping = time.monotonic() + HOUSEKEEPING_SECONDS
                    if timezone.now() >= started + CATCH_UP:
                        request_due_run(now=timezone.now())
                    self._housekeep()
                if time.monotonic() >= next_pruning:
                    next_pruning = time.monotonic() + PRUNING_SECONDS
                    enqueue_pruning()
                if time.monotonic() >= next_counting:
                    next_counting = time.monotonic() + COUNTING_SECONDS
                    enqueue_counting()
            except Error as error:
                # The lock went with the connection.
                leading = False
                logger.warning("database unavailable: %s", error)
                connection.close()
                stop.wait(1.0)
            except Exception:
                # A timekeeper that dies of one bad row breaks every promise; the next tick tries again, loudly.
                logger.exception("sweep tick failed")
                stop.wait(1.0)

    def _housekeep(self) -> None:
        housekeep()
        # Messages get lost, and a run that found another at work waits for its turn.
        if any_queued():
            enqueue_replays()
        for run in unfinished_runs():
            enqueue_reconciliation(run.id)

    def _check_heartbeats(self, watching_since: datetime | None = None) -> None:
        changed = check_heartbeats(timezone.now(), watching_since=watching_since)
        if changed:
            logger.warning("receivers that fell silent or spoke again: %s", ", ".join(changed))
