"""From TOML to a plan: tables, lines, topologies and the actions of the steps."""
