"""The console's pages; the read API is in `storms.api`."""

from django.urls import path

from storms import pages

urlpatterns = [
    path("", pages.now, name="now"),
    path("storms/<uuid:storm_id>/", pages.storm, name="storm"),
    path("alerts/<uuid:alert_id>/", pages.alert, name="alert"),
]
