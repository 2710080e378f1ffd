"""What a scenario runs on: its hosts, wires, captures and the kernel."""
