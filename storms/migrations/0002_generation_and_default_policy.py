"""The configuration's generation, moved by triggers, and the default policy."""

from django.db import migrations

# The value comes from a sequence, so it never repeats, and becomes visible with the change it stands for.
GENERATION = """
create sequence storms_config_generation;
create function storms_bump_config_generation() returns trigger language plpgsql as $$
begin
    insert into storms_configgeneration (id, value) values (1, nextval('storms_config_generation'))
    on conflict (id) do update set value = excluded.value;
    return null;
end $$;
create trigger storms_stormpolicy_generation after insert or update or delete on storms_stormpolicy
    for each statement execute function storms_bump_config_generation();
insert into storms_configgeneration (id, value) values (1, nextval('storms_config_generation'));
"""
NO_GENERATION = """
drop trigger storms_stormpolicy_generation on storms_stormpolicy;
drop function storms_bump_config_generation();
drop sequence storms_config_generation;
"""


def create_default_policy(apps, schema_editor):
    apps.get_model("storms", "StormPolicy").objects.create(
        name="default", owner_note="Catches every alert that no narrower policy takes."
    )


class Migration(migrations.Migration):
    dependencies = [("storms", "0001_initial")]
    operations = [
        migrations.RunSQL(GENERATION, NO_GENERATION),
        migrations.RunPython(create_default_policy, migrations.RunPython.noop),
    ]
