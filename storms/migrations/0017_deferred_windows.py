from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("storms", "0016_watch_state"),
    ]

    operations = [
        migrations.AddField(
            model_name="storm",
            name="window_from",
            field=models.DateTimeField(
                blank=True,
                help_text="Alerts that came after it are in the storm. None: a window before it opened; earlier where "
                "alerts counted that had come while the store was away.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="alert",
            name="deferred_at",
            field=models.DateTimeField(
                blank=True,
                help_text="PostgreSQL's clock when it was recorded, if the store was away then.",
                null=True,
            ),
        ),
        migrations.RunSQL(
            "update storms_alert set deferred_at = received_at where disposition = 'deferred'", migrations.RunSQL.noop
        ),
        migrations.AlterField(
            model_name="alert",
            name="decided_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When it counted: the store's clock at the decision, or `deferred_at`, if that is not later.",
                null=True,
            ),
        ),
        migrations.RemoveIndex(model_name="alert", name="alert_deferred"),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(
                condition=models.Q(("disposition", "deferred")), fields=["deferred_at"], name="alert_waiting"
            ),
        ),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(
                condition=models.Q(("disposition", "deferred")),
                fields=["group_key", "deferred_at"],
                name="alert_waiting_group",
            ),
        ),
    ]
