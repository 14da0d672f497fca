"""The command line: `trunkline …`."""

from api.cli.commands import main
from api.cli.credits import credits_group
from api.cli.demo import demo_command
from api.cli.fake import fake_command
from api.cli.history import history_command
from api.cli.projections import projections_group
from api.cli.statement import statement_command

main.add_command(credits_group)
main.add_command(demo_command)
main.add_command(fake_command)
main.add_command(history_command)
main.add_command(projections_group)
main.add_command(statement_command)

__all__ = ["main"]
