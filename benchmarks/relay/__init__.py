"""One session: bulk both ways, and lone round trips, through the gateway, HAProxy and nginx in
turn.
"""
