"""The webhooks, with and without a trailing slash."""

from django.urls import re_path

from ingestion.views import AlertmanagerWebhook

urlpatterns = [re_path(r"^alertmanager/?$", AlertmanagerWebhook.as_view(), name="webhook-alertmanager")]
