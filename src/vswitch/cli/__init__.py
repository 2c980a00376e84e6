"""The command line, `vswitch`: main (what becomes of errors), arguments (commands as rows), table, dpctl, demo."""
