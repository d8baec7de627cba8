"""Joystick's demonstrations: recorded, verified and replayed from a seed and actions.

`python -m demos record` makes a `Dataset` of `Episode`s, and `verify` lives them again.
"""

import os
import sys

if sys.argv[:1] == ["-m"] and sys.path[0] == os.getcwd() != os.path.dirname(__path__[0]):
    # `python -m` looks there first, where a person may have a folder `envs`: the package comes
    # before it, and a person's own modules are still found.
    sys.path[0:1] = []
    sys.path += [os.path.dirname(__path__[0]), os.getcwd()]

from demos.dataset import Damage, Dataset, Metadata
from demos.episode import Episode, Witness
from demos.recording import Policy, record
from demos.verification import Difference, observations_of, verify

__all__ = [
    "Damage",
    "Dataset",
    "Difference",
    "Episode",
    "Metadata",
    "Policy",
    "Witness",
    "observations_of",
    "record",
    "verify",
]
