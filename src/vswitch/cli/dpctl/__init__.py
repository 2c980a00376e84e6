"""`vswitch dpctl`: datapaths from the command line, with the commands of ovs-dpctl. Its commands are in table."""
