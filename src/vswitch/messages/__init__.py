"""What switch and controller say to each other, whichever version of OpenFlow they speak: frozen values."""
