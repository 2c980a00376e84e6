"""The daemon that makes a machine what the database `Open_vSwitch` says, and says there what has become of it."""
