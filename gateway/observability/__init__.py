"""What the gateway says about itself: logs.

Owns: the form of a log line and what never gets into one. Must not know: who logs what, and why.
"""
