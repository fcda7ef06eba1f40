"""The parts of the hot path by themselves."""
