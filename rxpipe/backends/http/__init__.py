"""What every backend behind an HTTP API needs: connections, calls, progress, interrupts, pictures."""
