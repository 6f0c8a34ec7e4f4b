"""What Alembic runs: the migrations, in the connection and transaction that `database.migrate` gives."""

from alembic import context

from mnatune.service.feedback.schema_tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a constraint in place
)
context.run_migrations()
