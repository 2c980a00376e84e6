"""The values that all rooms speak in: keys, matches, actions, megaflows, upcalls. Frozen, and without effects."""
