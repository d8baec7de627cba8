"""A result file to which a long measurement adds one row at a time."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from agents.core.system.device import cpu_name
from benchmarks.machine import compact_json, describe
from demos import provenance
from envs import UserError
from envs.files import read_regular, write_atomically

MOST_BYTES = 64 << 20


class Rows:
    """The rows of a result file; a row that was added stays.

    A stopped measurement begins again with the rows that it has. The file has the parts of every
    result file, with the command and the machine of its first row. Each row has its own date,
    commit and processor.
    """

    def __init__(self, path: Path, benchmark: str):
        """Reads the rows of a file, or begins without rows if there is no file.

        Raises:
            UserError: the file is not a result of this benchmark.
        """
        self.path = path
        try:
            self.record = json.loads(read_regular(path, MOST_BYTES))
            self.rows: list[dict[str, Any]] = self.record["result"]["rows"]
        except FileNotFoundError:
            self.rows = []
            self.record = {
                "benchmark": benchmark,
                "command": shlex.join(["python", *sys.orig_argv[1:]]),
                "machine": describe(),
                "result": {"rows": self.rows},
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a result file with rows: {error}") from None
        found = self.record.get("benchmark")
        if found != benchmark:
            raise UserError(f"{path}: a result of {found}, not of {benchmark}; --out names another")

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row with the date, the commit and the processor, and writes the file."""
        about = {
            "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "commit": provenance.commit() or None,
            "cpu": cpu_name(),
        }
        self.rows.append(row | about)
        self.write()

    def write(self, **facts: Any) -> None:
        """Writes the file, with facts beside the rows."""
        self.record["result"] |= facts
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, (compact_json(self.record) + "\n").encode())
