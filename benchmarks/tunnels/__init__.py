"""Other tunnels through WebSocket, beside the gateway in the same run."""
