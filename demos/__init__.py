"""Joystick's demonstrations: recorded, verified and replayed from a seed and actions.

`python -m demos record` makes a `Dataset` of `Episode`s, and `verify` lives them again.
"""

import os
import sys

if sys.argv[:1] == ["-m"] and any(word.split(".")[0] == __name__ for word in sys.orig_argv):
    # `python -m` looks first where a person works, who may have a folder `envs` there.
    sys.path.insert(0, os.path.dirname(__path__[0]))
    from envs import siblings

    sys.path.pop(0)
    siblings.prefer()

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
