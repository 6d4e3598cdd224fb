"""A changed silence holds from the next webhook on."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0003_whole_life")]
    operations = [
        migrations.RunSQL(
            "create trigger ingestion_silence_generation after insert or update or delete on ingestion_silence"
            " for each statement execute function storms_bump_config_generation()",
            "drop trigger ingestion_silence_generation on ingestion_silence",
        )
    ]
