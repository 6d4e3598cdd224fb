"""Addresses of the read API's part of this package, below /api/v1/."""

from django.urls import path
from rest_framework.renderers import JSONRenderer

from storms import api, audit_api, policy_api
from storms.api import RemediationRequestViewSet, YamlRenderer

manifest = RemediationRequestViewSet.as_view({"get": "manifest"}, renderer_classes=[YamlRenderer, JSONRenderer])

urlpatterns = [
    # Not the router's, whose addresses end in a slash: a file's name should not.
    path("remediation-requests/<uuid:pk>/manifest.yaml", manifest, name="remediationrequest-manifest"),
    *api.router.urls,
    *audit_api.router.urls,
    *policy_api.router.urls,
]
