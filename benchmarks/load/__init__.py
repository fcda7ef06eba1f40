"""What thousands of agents cost, beside HAProxy and nginx: memory, pings, set-up, growth."""
