"""`python -m joystick` is the command `joystick`."""

from joystick.cli import main

if __name__ == "__main__":
    main("python -m joystick")
