"""HTTP/1.1 on trio: connections, exchanges, routing and proxying.

Owns: the life of one HTTP request, from a raw head that passed the gate (``protocol.http_head``)
to the last byte of its answer or to the 101 after which the stream is somebody else's. h11 lives
in ``framing`` and nowhere else in the gateway: it keeps the state of a message and its body; heads
are read and written by the gate, exactly, in the order and the case in which they came.

    connection             keep-alive loop of one client; the one reader of the error table before
    101 exchange               one request and its answer, as handlers see it framing
    h11 behind one small interface, both roles router                 host and path -> controller
    and kind of endpoint forwarding             who the client is, which fields travel on
    controller_connection  one connection to a controller proxy                  a request there,
    its answer back, both streaming

Must not know: agents, sessions, credentials.
"""
