"""The webhooks, with and without a trailing slash."""

from django.urls import re_path

from ingestion.views import AlertmanagerWebhook, GenericWebhook, KubernetesEventWebhook

urlpatterns = [
    re_path(rf"^{view.kind}/?$", view.as_view(), name=f"webhook-{view.kind}")
    for view in (AlertmanagerWebhook, KubernetesEventWebhook, GenericWebhook)
]
