"""Addresses of the read API's part of this package, below /api/v1/."""

from django.urls import path
from rest_framework.renderers import JSONRenderer

from storms import api, audit_api, policy_api
from storms.api import RemediationRequestViewSet, YamlRenderer

_YAML = {"renderer_classes": [YamlRenderer, JSONRenderer]}
manifest = RemediationRequestViewSet.as_view({"get": "manifest"}, **_YAML)
desired = RemediationRequestViewSet.as_view({"get": "desired"}, **_YAML)
observed = RemediationRequestViewSet.as_view({"get": "observed"}, **_YAML)

urlpatterns = [
    # Not the router's, whose addresses end in a slash: a file's name should not.
    path("remediation-requests/<uuid:pk>/manifest.yaml", manifest, name="remediationrequest-manifest"),
    path("remediation-requests/<uuid:pk>/desired.yaml", desired, name="remediationrequest-desired"),
    path("remediation-requests/<uuid:pk>/observed.yaml", observed, name="remediationrequest-observed"),
    *api.router.urls,
    *audit_api.router.urls,
    *policy_api.router.urls,
]
