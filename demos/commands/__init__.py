"""The commands of `python -m demos`: what is typed, as a dataclass whose `run` gives the exit code.

What they do is in the modules of the same name above.
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
