"""Expert demonstrations: recorded, verified and replayed from seed and actions.

`python -m demos record` makes a `Dataset` of `Episode`s, and `verify` lives them again.
"""

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
