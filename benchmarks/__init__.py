"""What the gateway costs, beside its peers.

``python -m benchmarks relay`` (or ``./dev bench relay``) measures; results go to
``benchmarks/results`` as JSON with a line about the machine. Ratios against a peer in the same run
are what to trust: machines are shared and noisy. Nothing here is a test, and no test asserts a
speed.
"""
