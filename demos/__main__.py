"""`python -m demos` records, verifies, shows and describes demonstrations.

python -m demos record --env Pong --policy runs/<run> --episodes 20 --out pong-expert
python -m demos verify pong-expert
python -m demos replay pong-expert
python -m demos stats pong-expert
"""

from __future__ import annotations

import sys

from demos.commands import Command
from envs import command_line
from envs.entry import command


def main(args: list[str] | None = None) -> None:
    """Runs a command and exits; the exit code is 2 on bad input."""
    with command():
        chosen = command_line.parse(Command, args=args, prog="python -m demos", description=__doc__)
        sys.exit(chosen.run())


if __name__ == "__main__":
    main()
