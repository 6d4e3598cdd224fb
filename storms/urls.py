"""The console's pages, and what operators do on them; the API is in `storms.api_urls`."""

from django.urls import path

from storms import actions, filter_actions
from storms.pages import (
    alert,
    alerts,
    alerts_data,
    breakdown,
    course,
    history,
    members,
    now,
    post_mortem,
    resource,
    storm,
)

urlpatterns = [
    path("", now.now, name="now"),
    path("history/", history.history_page, name="history"),
    path("history/export.csv", history.history_csv, name="history-csv"),
    path("history/export.json", history.history_json, name="history-json"),
    path("storms/<uuid:storm_id>/", storm.storm, name="storm"),
    path("storms/<uuid:storm_id>/course.json", course.course, name="storm-course"),
    path("storms/<uuid:storm_id>/breakdown/", breakdown.breakdown, name="storm-breakdown"),
    path("storms/<uuid:storm_id>/post-mortem/", post_mortem.post_mortem, name="post-mortem"),
    path("storms/<uuid:storm_id>/post-mortem.md", post_mortem.as_markdown, name="post-mortem-md"),
    path("storms/<uuid:storm_id>/post-mortem.json", post_mortem.as_json, name="post-mortem-json"),
    path("storms/<uuid:storm_id>/alerts.csv", post_mortem.alerts_csv, name="storm-alerts-csv"),
    path("storms/<uuid:storm_id>/alerts/", members.alerts, name="storm-alerts"),
    path("storms/<uuid:storm_id>/resources/", members.resources, name="storm-resources"),
    path("storms/<uuid:storm_id>/acknowledge/", actions.acknowledge, name="acknowledge-storm"),
    path("storms/<uuid:storm_id>/assign/", actions.assign, name="assign-storm"),
    path("storms/<uuid:storm_id>/note/", actions.note, name="note-storm"),
    path("storms/<uuid:storm_id>/close/", actions.close, name="close-storm"),
    path("storms/<uuid:storm_id>/merge/", actions.merge, name="merge-storm"),
    path("remediation-requests/<uuid:rr_id>/", resource.resource, name="remediation-request"),
    path("alerts/", alerts.alerts, name="alerts"),
    path("alerts/histogram.json", alerts_data.alert_histogram, name="alerts-histogram"),
    path("alerts/complete.json", alerts_data.alert_completion, name="alerts-complete"),
    path("alerts/alerts.csv", alerts_data.alerts_csv, name="alerts-csv"),
    path("alerts/columns/", filter_actions.columns, name="alert-columns"),
    path("alerts/filters/", filter_actions.save, name="save-filter"),
    path("alerts/filters/<int:filter_id>/", filter_actions.edit, name="edit-filter"),
    path("alerts/filters/<int:filter_id>/delete/", filter_actions.delete, name="delete-filter"),
    path("alerts/<uuid:alert_id>/", alert.alert, name="alert"),
    path("alerts/<uuid:alert_id>/split/", actions.split, name="split-alert"),
]
