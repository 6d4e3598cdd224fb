"""Addresses of the read API's part of this package, below /api/v1/."""

from django.urls import path

from ingestion.api import StatusView, router

urlpatterns = [path("status/", StatusView.as_view(), name="status"), *router.urls]
