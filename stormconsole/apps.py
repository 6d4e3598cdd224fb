from django.apps import AppConfig


class StormconsoleConfig(AppConfig):
    name = "stormconsole"

    def ready(self) -> None:
        from stormconsole import checks  # noqa: F401  (registers the system checks)
