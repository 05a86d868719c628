"""Migrations: what they make is what the models say, also when several start at once."""

import subprocess
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

import app.models  # noqa: F401  (registers the tables)
from app.db import Base, get_engine
from app.migrate import upgrade


def test_migrated_tables_are_the_models(each_database):
    with get_engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_doing_it_again_changes_nothing(each_database):
    upgrade()
    assert set(inspect(get_engine()).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_several_at_once_on_a_new_file(home):
    starting = [
        subprocess.Popen([sys.executable, "-m", "app.migrate"], stderr=subprocess.PIPE) for _ in range(4)
    ]
    ends = [(p.communicate(timeout=60)[1].decode()[-2000:], p.returncode) for p in starting]
    assert [code for _, code in ends] == [0] * 4, ends
    assert set(inspect(get_engine()).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
