"""`vswitch ofctl`: what ovs-ofctl does, with its words and its output."""
