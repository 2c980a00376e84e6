"""`vswitch ovsdb`: databases in files and databases of servers, as ovsdb-tool and ovsdb-client have them."""
