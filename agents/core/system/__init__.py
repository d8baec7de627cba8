"""The machine: devices, processes, and how state is written."""
