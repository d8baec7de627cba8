"""`python -m demos` records, verifies, shows and describes demonstrations.

python -m demos record --env Pong --policy runs/<run> --episodes 20 --out pong-expert
python -m demos verify pong-expert
python -m demos replay pong-expert
python -m demos stats pong-expert
"""

from __future__ import annotations

import sys

from demos.commands import Command
from envs import UserError, command_line


def main(args: list[str] | None = None) -> None:
    """The command line; exits with 2 on bad input."""
    try:
        command = command_line.parse(
            Command, args=args, prog="python -m demos", description=__doc__
        )
        sys.exit(command.run())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
