"""Sans-I/O protocol cores: bytes in, values out.

Owns: every byte of WebSocket, JNLP4-connect, chunks and HTTP heads, once TLS is off
(``transport.tls``).
Cores share four verbs: ``receive_data``, ``receive_eof``, ``data_to_send``, ``send_*``. A core
returns a value or raises ``errors.RemoteProtocolError``; any other exception, whatever the bytes,
is a bug.

Must not know: trio, sockets, clocks, randomness, logging, configuration.
"""
