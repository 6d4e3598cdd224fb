from django.apps import AppConfig


class StormsConfig(AppConfig):
    name = "storms"

    def ready(self) -> None:
        from storms import signals  # noqa: F401  (registers the receivers)
