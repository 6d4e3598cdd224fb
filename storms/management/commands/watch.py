"""`manage.py watch`: mirror what the cluster says of our RemediationRequests into the rows."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from stormconsole.health import start_heartbeat
from storms.cluster import is_local
from storms.mirror import Mirror

logger = logging.getLogger("storms.watch")


class Command(BaseCommand):
    help = "Watch the cluster's RemediationRequests: phases, edits by hand, deletions. Runs until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        mirror = Mirror()

        def stop(signum: int, frame: FrameType | None) -> None:
            mirror.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        start_heartbeat("watch")
        if is_local():
            logger.info("no cluster is configured: nothing to watch, idle until stopped")
            mirror.wait_until_stopped()
        else:
            self._run(mirror)

    def _run(self, mirror: Mirror) -> None:
        """In a thread that dies with us: a call to an unreachable cluster must not delay our end.

        Each write is one transaction, so that nothing is left half done.
        """
        running = threading.Thread(target=mirror.run, name="mirror", daemon=True)
        running.start()
        while not mirror.wait_until_stopped(timeout=1):
            if not running.is_alive():
                raise CommandError("the mirror stopped unexpectedly; the reason is in the log above")
        running.join(timeout=2)
