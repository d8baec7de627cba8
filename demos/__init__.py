"""Joystick's demonstrations: records, verifies and replays episodes from a seed and actions.

`python -m demos record` makes a `Dataset` of `Episode`s, and `verify` replays them.
"""

import os
import sys

if sys.argv[:1] == ["-m"] and any(word.split(".")[0] == __name__ for word in sys.orig_argv):
    # `python -m` looks in the working directory first, which may hold a foreign folder `envs`.
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
