"""Processes: a supervisor that binds, starts, restarts and replaces, and workers that serve.

Owns: the process seam ``worker.serve(listeners, snapshot, control)``, the control stream between
the two, signals, and the one place where everything is put together (``worker``).

The supervisor's side: ``supervisor`` over ``fleet`` (all workers), ``children`` (one of them),
``slots`` (sockets), ``reloader`` and ``watch``, ``upgrade`` and ``handover``, ``control_socket``
and ``status``, ``service_manager``; what operators do is ``operations`` (over ``session_list``,
``session_query``, ``block_list``, ``log_level``, ``readiness``), the same for the control socket
(``operations_by_name``) and the admin listener (``admin``). The worker's: ``worker_process``,
``worker``, ``accepting``, ``orders``, ``answers``, ``generation``, ``ending``. Both: ``control``.

Must not know: the command line.
"""
