"""The rules that operators edit: their generation triggers, and the values that were code before."""

from django.db import migrations

TABLES = ("storms_severityrule", "storms_environmentrule", "storms_priorityrule")
SEVERITIES = {
    "critical": "critical crit page emergency fatal error high major p1 sev1",
    "warning": "warning warn medium minor p2 p3 sev2",
    "info": "info information informational none low notice debug ok p4",
}
PRIORITIES = [
    ("critical", "production", "P0"),
    ("critical", "", "P1"),
    ("warning", "", "P2"),
    ("info", "", "P3"),
]
ENVIRONMENTS = [
    ("prod|production|prod-.*|.*-prod|.*-production", "production"),
    ("staging|stage|.*-staging", "staging"),
]


def create_rules(apps, schema_editor):
    severity = apps.get_model("storms", "SeverityRule")
    severity.objects.bulk_create(
        severity(value=value, severity=level) for level, values in SEVERITIES.items() for value in values.split()
    )
    environment = apps.get_model("storms", "EnvironmentRule")
    environment.objects.bulk_create(
        environment(position=position, namespace_pattern=pattern, environment=name)
        for position, (pattern, name) in enumerate(ENVIRONMENTS, 1)
    )
    priority = apps.get_model("storms", "PriorityRule")
    priority.objects.bulk_create(priority(severity=s, environment=e, priority=p) for s, e, p in PRIORITIES)


def create_first_versions(apps, schema_editor):
    version = apps.get_model("storms", "PolicyVersion")
    names = [
        "name", "enabled", "matchers", "priority", "group_by", "threshold", "window_seconds", "hold_seconds",
        "quiet_seconds", "max_duration_seconds", "reopen_seconds", "count_flapping_once", "owner_note",
    ]  # fmt: skip
    for policy in apps.get_model("storms", "StormPolicy").objects.all():
        fields = {name: getattr(policy, name) for name in names}
        version.objects.create(policy=policy, version=policy.version, at=policy.updated_at, fields=fields)


class Migration(migrations.Migration):
    dependencies = [("storms", "0003_whole_life")]
    operations = [
        *(
            migrations.RunSQL(
                f"create trigger {table}_generation after insert or update or delete on {table}"
                " for each statement execute function storms_bump_config_generation()",
                f"drop trigger {table}_generation on {table}",
            )
            for table in TABLES
        ),
        migrations.RunPython(create_rules, migrations.RunPython.noop),
        migrations.RunPython(create_first_versions, migrations.RunPython.noop),
    ]
