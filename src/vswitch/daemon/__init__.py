"""What runs the pure parts in a process of its own: sockets, files, time."""
