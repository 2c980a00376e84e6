"""What every room stands on: errors, bounds, names that packages fetch late. Imports nothing of vswitch."""
