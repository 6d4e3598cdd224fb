from django.apps import AppConfig


class StormsConfig(AppConfig):
    name = "storms"
