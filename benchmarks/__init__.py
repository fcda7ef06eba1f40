"""What the gateway costs, beside its peers, and whether the targets are met.

``./dev bench`` runs all benchmarks, ``./dev bench NAME`` one; results go to ``benchmarks/results``
as JSON with a line about the machine, and ``targets`` holds them against what is aimed at. Ratios
against a peer in the same round are what to trust: machines are shared and noisy. Nothing here is a
test, and no test asserts a speed.
"""
