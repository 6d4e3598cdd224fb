"""`manage.py install_crd`: make a cluster know RemediationRequests."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from storms.cluster import ClusterError, is_local


class Command(BaseCommand):
    help = "Install or update deploy/crd.yaml in the configured cluster, and wait until it is served."
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the CRD is not served")
        parser.add_argument(
            "--kubeconfig",
            default=settings.KUBECONFIG,
            help="an administrator's kubeconfig (default: KUBECONFIG); the console's own account may not install",
        )
        parser.add_argument("--wait", type=float, default=30, metavar="SECONDS", help="until it is served (default 30)")

    def handle(self, *args: Any, check: bool, kubeconfig: str, wait: float, **options: Any) -> None:
        if not kubeconfig and is_local():
            self.stdout.write("No cluster is configured: the local cluster knows RemediationRequests already.")
            return
        # Here, because it loads `kubernetes`, which --help has no need of.
        from storms.cluster import install
        from storms.cluster.connection import connect

        try:
            connection = connect(kubeconfig, timeout_seconds=settings.KUBERNETES_TIMEOUT_SECONDS)
            if not check:
                install.install_crd(connection, wait_seconds=wait)
            elif not install.is_served(connection):
                raise CommandError(
                    f"{connection.host} does not know RemediationRequests: install them with "
                    "`manage.py install_crd --kubeconfig <an administrator's>` or "
                    "`kubectl apply --server-side -f deploy/crd.yaml`"
                )
        except ClusterError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{connection.host} serves RemediationRequests.")
