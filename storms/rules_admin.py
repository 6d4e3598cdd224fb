"""The admin of the rules: what severities, environments and priorities mean here. Edited in the lists themselves."""

from typing import Any

from django import forms
from django.contrib import admin
from unfold.admin import ModelAdmin

from storms.audit_admin import AuditedAdmin
from storms.choices import AuditAction
from storms.models import EnvironmentRule, PriorityRule, SeverityRule
from storms.remediation import clean_environment


class SeverityRuleForm(forms.ModelForm):
    class Meta:
        model = SeverityRule
        fields = ["value", "severity"]

    def clean_value(self) -> str:
        """As it is compared: two rows for one value would contradict each other."""
        value: str = self.cleaned_data["value"].strip().lower()
        return value


class EnvironmentField(forms.ModelForm):
    """A form whose `environment` is kept as it is compared."""

    def clean_environment(self) -> str:
        return clean_environment(self.cleaned_data["environment"])


class EnvironmentRuleForm(EnvironmentField):
    class Meta:
        model = EnvironmentRule
        fields = ["position", "namespace_pattern", "environment"]


class PriorityRuleForm(EnvironmentField):
    class Meta:
        model = PriorityRule
        fields = ["severity", "environment", "priority"]


class LabelledInList:
    """Mixed into the form of a row in a list, where no label stands beside a field: says which field of which row."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():  # type: ignore[attr-defined]
            field.widget.attrs["aria-label"] = f"{field.label} of {self.instance}"  # type: ignore[attr-defined]


class RulesAdmin(AuditedAdmin, ModelAdmin):
    """A change holds from the next alert on; what was recorded stays as it is."""

    audit_actions = (AuditAction.RULE_CREATED, AuditAction.RULE_EDITED, AuditAction.RULE_DELETED)
    list_per_page = 200
    compressed_fields = True

    def get_changelist_form(self, request: Any, **kwargs: Any) -> Any:
        form = type("RowForm", (LabelledInList, self.form), {"Meta": self.form.Meta})
        return super().get_changelist_form(request, **kwargs | {"form": form})


@admin.register(SeverityRule)
class SeverityRuleAdmin(RulesAdmin):
    form = SeverityRuleForm
    list_display = ("value", "severity")
    list_editable = ("severity",)
    list_filter = ("severity",)
    search_fields = ("value",)


@admin.register(EnvironmentRule)
class EnvironmentRuleAdmin(RulesAdmin):
    form = EnvironmentRuleForm
    list_display = ("namespace_pattern", "environment", "position")
    list_editable = ("environment", "position")
    search_fields = ("namespace_pattern", "environment")


@admin.register(PriorityRule)
class PriorityRuleAdmin(RulesAdmin):
    form = PriorityRuleForm
    list_display = ("__str__", "priority")
    list_editable = ("priority",)
    list_filter = ("severity", "priority")
    search_fields = ("environment",)
