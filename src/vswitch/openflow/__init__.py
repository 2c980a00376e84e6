"""OpenFlow on the wire: messages to bytes and back, in each version, and the state of a connection. No sockets."""
