from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class StormconsoleConfig(AppConfig):
    name = "stormconsole"

    def ready(self) -> None:
        from stormconsole import checks  # noqa: F401  (registers the system checks)
        from stormconsole.accounts.services import after_migrate

        # Not a migration: a migration runs before Django has made the permissions of the models, and only once.
        post_migrate.connect(after_migrate, sender=self)


class ConsoleAdminConfig(AdminConfig):
    default_site = "stormconsole.admin_site.ConsoleAdminSite"
