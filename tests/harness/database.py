"""The test database as the migrations left it, again after every test that commits.

Django's own way, `flush`, empties every table, then makes permissions, content types and roles anew: five times as long
as most of these tests. Here only what a test changed is taken away, and the rows of the migrations are put back.
"""

from django.db import connection

KEPT = ["django_migrations", "storms_configgeneration"]
"""Tables that no test leaves otherwise than it should: a generation must never come twice."""

REMEMBER = """
drop schema if exists shipped cascade;
create schema shipped;

create view shipped.tables as
select
    relname as name,
    to_regclass(format('shipped.%I', relname)) is not null as has_rows,
    -- Dead rows would slow down who comes next. But the generation is moved by triggers that see no truncate.
    pg_relation_size(oid) > 1024 * 1024 and not exists (
        select from pg_trigger where tgrelid = pg_class.oid and not tgisinternal
    ) as is_truncated
from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> all (KEPT);

do $$
declare
    place text;
    has_rows boolean;
begin
    for place in select name from shipped.tables loop
        execute format('select exists (table public.%I)', place) into has_rows;
        if has_rows then
            execute format('create table shipped.%1$I as table public.%1$I', place);
        end if;
    end loop;
end $$;

create function shipped.restore() returns void language plpgsql as $$
declare
    place record;
    differs boolean;
begin
    for place in select * from shipped.tables where is_truncated and not has_rows loop
        execute format('select exists (table public.%I)', place.name) into differs;
        if differs then
            execute format('truncate public.%I cascade', place.name);
        end if;
    end loop;
    -- Foreign keys are looked at when this commits, so in any order; and what "cascade" took is put back here.
    for place in select * from shipped.tables loop
        if place.has_rows then
            execute format(
                'select exists ((table public.%1$I except all table shipped.%1$I) '
                'union all (table shipped.%1$I except all table public.%1$I))', place.name
            ) into differs;
        else
            execute format('select exists (table public.%I)', place.name) into differs;
        end if;
        if differs then
            execute format('delete from public.%I', place.name);
            if place.has_rows then
                execute format('insert into public.%1$I table shipped.%1$I', place.name);
            end if;
        end if;
    end loop;
end $$;
"""


def remember() -> None:
    """Keep what the migrations made, once they have run."""
    kept = ", ".join(f"'{name}'" for name in KEPT)
    with connection.cursor() as cursor:
        cursor.execute(REMEMBER.replace("all (KEPT)", f"all (array[{kept}])"))


def restore() -> None:
    """One round trip."""
    with connection.cursor() as cursor:
        cursor.execute("select shipped.restore()")
