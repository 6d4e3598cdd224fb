"""The audit over HTTP, to be read."""

import django_filters
from django.core.validators import validate_ipv46_address
from rest_framework import serializers
from rest_framework.routers import SimpleRouter

from storms.api import ReadOnlyViewSet
from storms.choices import AuditAction
from storms.filters import after, any_of, before
from storms.models import AuditEntry


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    before = serializers.DictField(read_only=True, help_text="{field: value} of what changed.")
    after = serializers.DictField(read_only=True, help_text="{field: value} of what changed.")

    class Meta:
        model = AuditEntry
        fields = [
            "id",
            "at",
            "actor",
            "via",
            "remote_addr",
            "action",
            "target_type",
            "target_id",
            "target_name",
            "before",
            "after",
            "detail",
        ]
        read_only_fields = fields


class AuditFilter(django_filters.FilterSet):
    action = any_of("action", AuditAction)
    at_after, at_before = after("at"), before("at")
    remote_addr = django_filters.CharFilter(validators=[validate_ipv46_address])

    class Meta:
        model = AuditEntry
        fields = ["actor", "target_type", "target_id"]


class AuditViewSet(ReadOnlyViewSet):
    """Who did what, from where, with what was before and after. Entries are never changed."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditEntrySerializer
    filterset_class = AuditFilter
    ordering = ("-at",)
    ordering_fields = ("at",)


router = SimpleRouter()
router.register("audit", AuditViewSet)
