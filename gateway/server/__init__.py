"""Processes: a supervisor that binds, starts and restarts, and workers that serve.

Owns: the process seam ``worker.serve(listeners, snapshot, control)``, the control stream between
the two, signals, and the one place where everything is put together (``worker``).

Must not know: the command line.
"""
