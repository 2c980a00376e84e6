"""A whole OpenFlow switch on a datapath: `Bridge`, its controllers, its upcalls."""
