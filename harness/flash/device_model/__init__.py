"""How fast a device reads: profiles, how one is measured, and published latencies beside them."""
