"""Traffic × deployment → what would happen, in the tunnel (a simulator)."""
