"""What the algorithms share; nothing here names an algorithm."""

from envs.output import warn_once
from envs.siblings import clash

if replaced := clash("agents"):
    # It works, but what the other package has there runs first.
    warn_once(replaced)
