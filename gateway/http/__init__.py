"""HTTP/1.1 on trio: connections, exchanges, routing and proxying.

Owns: the life of one HTTP request, from a raw head that passed the gate (``protocol.http_head``)
to the last byte of its answer or to the 101 after which the stream is somebody else's. h11 lives
in ``framing`` and nowhere else in the gateway: it decodes chunked bodies; heads are read and
written by the gate, exactly, in the order and the case in which they came.

* ``connection``: keep-alive loop of one client; the one reader of the error table before 101
* ``exchange``: one request and its answer, as handlers see it
* ``framing``: where bodies end, both roles
* ``request_id``, ``access``: what a request is called, and what its log line says
* ``router``, ``exposure``: host and path -> controller and kind of endpoint, and who may
* ``redirect``: people on a plain listener to https
* ``forwarding``, ``introduction``: who the client is, and how the controller is told
* ``proxy``: a request there, its answer back, both streaming
* ``upstream``, ``addresses``: the way to a controller, and which of its addresses is used
* ``pool``, ``controller_connection``: connections to one address, and a single one

Must not know: agents, sessions, credentials.
"""
