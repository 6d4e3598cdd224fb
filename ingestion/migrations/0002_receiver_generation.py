"""A changed receiver changes the configuration's generation: a revoked token is refused from the next webhook on."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0001_initial"), ("storms", "0002_generation_and_default_policy")]
    operations = [
        migrations.RunSQL(
            """
            create trigger ingestion_receiver_generation after insert or update or delete on ingestion_receiver
                for each statement execute function storms_bump_config_generation();
            """,
            "drop trigger ingestion_receiver_generation on ingestion_receiver;",
        )
    ]
