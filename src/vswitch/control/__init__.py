"""What tools ask of a running process.

Messages to bytes and back (`jsonrpc`), commands by name (`commands`), what has been counted over time (`coverage`): all
of it is pure; who has the socket calls it.

The protocol is that of Open vSwitch's daemons, so that its tools work here, and `vswitch appctl` there.
"""
