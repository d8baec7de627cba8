"""The commands of `python -m demos`: one dataclass each, parsed from the command line.

Its `run` does the work and returns the exit code.
"""

from demos.commands.checking import Card, List, Stats, Verify
from demos.commands.editing import Drop, Filter, Merge, Seal, Split
from demos.commands.exchange import Export, Import
from demos.commands.recording import Record
from demos.commands.replaying import Replay

Command = (
    Record
    | Verify
    | Replay
    | Stats
    | List
    | Filter
    | Split
    | Merge
    | Drop
    | Seal
    | Card
    | Export
    | Import
)
