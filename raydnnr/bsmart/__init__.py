"""From BSMArt: its JSON input to a configuration, and its CSV output to an evaluation table."""
