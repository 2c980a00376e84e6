"""What every room stands on: the exception tree and the bounds. Imports nothing of vswitch."""
