"""What a switch needs of the machine's network devices: made and removed, looked at, policed, shaped.

Plain functions and frozen values over rtnetlink and ethtool netlink; which devices there should be, and why, is for
others to say. Everything acts in the network namespace of the thread that makes the object or calls the function.

Invariant: what is not marked as ours is never deleted or replaced: no device, no qdisc, no class, no filter.
"""
