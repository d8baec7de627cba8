"""The machine: devices, processes, and the encoding of state."""
