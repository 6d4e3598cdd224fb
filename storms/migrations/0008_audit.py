"""The audit. The database itself refuses to change an entry; retention may delete it."""

from django.db import migrations, models

NEVER_CHANGED = """
create function storms_refuse_audit_change() returns trigger language plpgsql as $$
begin
    raise exception 'audit entries are never changed';
end $$;
create trigger storms_auditentry_never_changed before update on storms_auditentry
    for each row execute function storms_refuse_audit_change();
"""
CHANGED = """
drop trigger storms_auditentry_never_changed on storms_auditentry;
drop function storms_refuse_audit_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("storms", "0007_one_fingerprint_index"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                (
                    "actor",
                    models.CharField(
                        blank=True, help_text="A person's name; empty: the console itself.", max_length=150
                    ),
                ),
                ("via", models.CharField(help_text="`web`, the API token's name, or `command line`.", max_length=200)),
                ("remote_addr", models.GenericIPAddressField(null=True)),
                ("action", models.CharField(max_length=40)),
                ("target_type", models.CharField(blank=True, max_length=40)),
                ("target_id", models.CharField(blank=True, max_length=64)),
                ("target_name", models.CharField(blank=True, help_text="As it was called then.", max_length=200)),
                ("before", models.JSONField(default=dict, help_text="{field: value} of what changed.")),
                ("after", models.JSONField(default=dict, help_text="{field: value} of what changed.")),
                ("detail", models.CharField(blank=True, max_length=500)),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "ordering": ["-at", "-id"],
                "indexes": [
                    models.Index(fields=["-at", "-id"], name="audit_at"),
                    models.Index(fields=["target_type", "target_id", "-at"], name="audit_target"),
                    models.Index(fields=["actor", "-at"], name="audit_actor"),
                ],
            },
        ),
        migrations.RunSQL(NEVER_CHANGED, CHANGED),
    ]
