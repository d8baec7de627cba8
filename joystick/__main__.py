"""`python -m joystick` is the command `joystick`."""

import os
import sys

from joystick.cli import main

if __name__ == "__main__":
    if sys.path[0] == os.getcwd():
        # `python -m` looks there first, so a user's json.py would hide Python's.
        sys.path.append(sys.path.pop(0))
    main("python -m joystick")
