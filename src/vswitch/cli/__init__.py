"""The command line, `vswitch`. Reading order: main (what becomes of errors), arguments (commands as rows), table,
dpctl."""
