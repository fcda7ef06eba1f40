"""What sessions and exchanges share: places, liveness, endings.

Owns: admission, the session loop with its watchdog, and the value that says why a session ended.
Handed in by constructor; nothing here is global.

Must not know: HTTP, WebSocket frames, JNLP4. The bridge and the relay supply pumps and a way to
ping.
"""
