"""What a policy reads for a trace of active neurons, and what that takes: measured, or projected."""
