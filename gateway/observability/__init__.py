"""What the gateway says about itself: logs, nodes' timelines, timers found on the way.

Owns: the form of a log line and what never gets into one; what is remembered of each node; what the
ends of sessions say about the network. Must not know: who logs what, and why.
"""
