"""The switch of OpenFlow: tables, groups, meters, and the translation of what they say into megaflows. No clock."""
