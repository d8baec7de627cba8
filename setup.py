"""Puts `sweeps/` into the wheel, where `agents/sweep/shipped.py` finds it; see pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSweeps(build_py):
    """Copies the packages, and the sweeps beside the command that reads them."""

    def run(self) -> None:
        super().run()
        # An editable install reads them where they are.
        if not self.editable_mode:
            folder = Path(self.build_lib, "agents", "sweep", "plans")
            self.mkpath(str(folder))
            for file in sorted(Path("sweeps").glob("*.yaml")):
                self.copy_file(str(file), str(folder / file.name))


setup(cmdclass={"build_py": BuildWithSweeps})
